"""Refuses images without a picture on them: flat, or burnt out."""

from __future__ import annotations

import numpy as np

from pipelines.produce.gates.verdict import Candidates, Limits, Verdict, steady, verdict


def judge(candidates: Candidates, limits: Limits) -> list[Verdict]:
    """Return verdicts scored by the pixels' standard deviation, 0-255: over the image, averaged over the channels.

    Also refused: more than `max_saturated` of the pixels with every channel at 0 or 255.
    """
    pixels = candidates.pixels
    spread = steady(pixels.std(axis=(1, 2), dtype=np.float64).mean(axis=-1))
    clipped = ((pixels == 0) | (pixels == 255)).all(axis=-1).mean(axis=(1, 2))
    least, most = limits.params.min_std, limits.params.max_saturated
    return [
        verdict(
            s >= least and c <= most,
            s,
            f"standard deviation {s:.1f} (needs {least:g}), {c:.0%} clipped (at most {most:.0%})",
        )
        for s, c in zip(spread, clipped, strict=True)
    ]
