"""Refuses an image that repeats one already kept for the release, whatever way round."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.produce.gates.verdict import Verdict, steady, verdict
from pipelines.produce.likeness import hash_distances, pixel_distances

ROWS = 64
"""Images compared at once, so that memory stays flat: 64 x 8 poses x kept images."""

CLEAR = 1.0
"""Score of an image that no kept image is within the bounds of."""


def scores_against(
    thumbs: NDArray[np.uint8], others: NDArray[np.uint8], *, bits: int, pixel_bound: float
) -> NDArray[np.float64]:
    """Return (N, M) scores; under 1 is a duplicate: difference hash within `bits` AND thumbnail under `pixel_bound`.

    The score is hash / (bits + 1) where the hash alone tells them apart, else the larger of that and pixels / bound.
    Both are needed: at 64 px different images share a hash too often (measured on phantoms: 1 pair in 10,000 within 4
    bits, which would refuse 3% of distinct images), and none of those pairs is also near in pixels.

    Compares every pair: this is what a duplicate *is*. `selection` finds the same ones without comparing them all.
    """
    scores = np.empty((len(thumbs), len(others)))
    for start in range(0, len(thumbs), ROWS):
        rows = slice(start, start + ROWS)
        apart = hash_distances(thumbs[rows], others) / (bits + 1)
        for i in np.flatnonzero((apart < 1).any(axis=1)):
            near = np.flatnonzero(apart[i] < 1)
            pixels = pixel_distances(thumbs[start + i : start + i + 1], others[near])[0] / pixel_bound
            apart[i, near] = np.maximum(apart[i, near], pixels)
        scores[rows] = steady(apart)
    return scores


def judge_one(scores: NDArray[np.float64]) -> Verdict:
    """Return the verdict on one image from its scores against the kept images, (K,); with none kept it passes.

    The verdict's score is 1 at most: past the bound nothing needs to be compared, so how far past is not known.
    """
    score = min(float(scores.min()), CLEAR) if len(scores) else CLEAR
    return verdict(score >= CLEAR, score, f"{score:.2f} of the bound from an image already kept")
