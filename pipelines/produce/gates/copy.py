"""Refuses images that repeat a training image: someone's photograph must not come out of the factory."""

from __future__ import annotations

import numpy as np

from pipelines.imaging.hashing import posed_patterns
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict, steady, verdict
from pipelines.produce.nearest import nearest_thumbnails, nearest_vectors

FAR = 1000.0
"""Score where there is nothing to be a copy of."""


def judge(candidates: Candidates, limits: Limits) -> list[Verdict]:
    """Return verdicts scored by the distance to the nearest training image over its bound; under 1 is a copy.

    The score is the smallest of three.

    - Features: the bound is a low quantile of what unseen real images come to, so that share of honest images is
      refused as well.
    - Pattern, over the 8 flips and quarter turns: structure and detail of the luma without its level and contrast, so a
      recoloured copy is one still. The bound is half of that quantile.
    - Pixels, over the 8 flips and quarter turns, half of that quantile: an exact or flipped copy (distance 0) can never
      pass; features alone would let a turned copy through, and an image of one colour has no pattern.

    It is not a privacy guarantee: a likeness that is near in none of the three is not found. How much recolouring it
    sees through is measured by `infra/bench/of_gates.py`.
    """
    reference, bounds = limits.reference, limits.calibration
    if not len(reference.units):
        return [Verdict(True, FAR, None)] * len(candidates.pixels)
    looks = [
        (nearest_vectors(candidates.units[:, None], reference.units), max(bounds.copy_embedding, 1e-6)),
        (nearest_vectors(posed_patterns(candidates.patterns), reference.patterns), bounds.copy_pattern),
    ]
    below = np.minimum(*(near.distance / bound for near, bound in looks)) * bounds.copy_pixels
    looks.append((nearest_thumbnails(candidates.thumbs, reference.thumbs, below=below), bounds.copy_pixels))
    scores = steady(np.stack([near.distance / bound for near, bound in looks]))
    which = scores.argmin(axis=0)
    return [
        verdict(
            scores[k, i] >= 1,
            min(scores[k, i], FAR),
            f"{scores[k, i]:.2f} of the bound from training image {reference.image_ids[looks[k][0].place[i]]}",
        )
        for i, k in enumerate(which)
    ]
