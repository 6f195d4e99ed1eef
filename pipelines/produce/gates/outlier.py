"""Refuses images that lie further from the real ones than held-out real images do."""

from __future__ import annotations

import numpy as np

from pipelines.produce.gates.verdict import Candidates, Limits, Verdict, steady, verdict
from pipelines.produce.manifold import strangeness

FAR = 1000.0


def judge(candidates: Candidates, limits: Limits) -> list[Verdict]:
    """Return verdicts scored by the distance to the real images over its bound for the skin type; above 1 is refused.

    Distance and bound: `pipelines.produce.manifold`. Without any held-out real image there is no bound, and it abstains.
    """
    bound = limits.calibration.outlier_bound(candidates.fst)
    if bound is None:
        return [Verdict(True, None, None)] * len(candidates.pixels)
    reference = limits.reference
    scores = steady(np.minimum(strangeness(candidates.units, reference.units, reference.radii) / bound, FAR))
    return [verdict(s <= 1, s, f"{s:.2f} of the bound from the real images") for s in scores]
