"""Refuses images that repeat a training image: someone's photograph must not come out of the factory."""

from __future__ import annotations

import numpy as np

from pipelines.produce.calibrate import embedding_distances
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict, steady, verdict
from pipelines.produce.likeness import pixel_distances

FAR = 1000.0
"""Score where there is nothing to be a copy of."""


def judge(candidates: Candidates, limits: Limits) -> list[Verdict]:
    """Return verdicts scored by the distance to the nearest training image over its bound; under 1 is a copy.

    The score is the smaller of two. In feature space the bound is a low quantile of what unseen real images come to,
    so that share of honest images is refused as well. In pixels, over the 8 flips and quarter turns, it is half of
    that, which an exact or flipped copy (distance 0) can never pass; features alone would let a turned copy through.
    It is not a privacy guarantee: a likeness that is neither near in features nor in thumbnail is not found.
    """
    reference, bounds = limits.reference, limits.calibration
    if not len(reference.units):
        return [Verdict(True, FAR, None)] * len(candidates.pixels)
    apart = embedding_distances(candidates.units, reference.units) / max(bounds.copy_embedding, 1e-6)
    pixels = pixel_distances(candidates.thumbs, reference.thumbs) / bounds.copy_pixels
    scores = steady(np.minimum(apart, pixels))
    nearest = scores.argmin(axis=1)
    return [
        verdict(
            row[i] >= 1, min(row[i], FAR), f"{row[i]:.2f} of the bound from training image {reference.image_ids[i]}"
        )
        for row, i in zip(scores, nearest, strict=True)
    ]
