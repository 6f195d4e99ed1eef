"""Refuses images whose file does not give the same picture back: what nobody can open is no image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.normalise import decode_png
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict, verdict


def judge(candidates: Candidates, limits: Limits) -> list[Verdict]:  # noqa: ARG001 - nothing to tolerate
    """Return verdicts scored by the share of pixels that the file gives back as they were, 0-1; kept at 1 alone.

    The file looked at is the very one that is written if the image is kept.
    """
    return [_judge_one(data, image) for data, image in zip(candidates.files, candidates.pixels, strict=True)]


def _judge_one(data: bytes, image: NDArray[np.uint8]) -> Verdict:
    try:
        found = decode_png(data)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on damaged files
        return Verdict(False, 0.0, f"its file of {len(data)} bytes does not decode ({type(error).__name__})")
    if found.shape != image.shape:
        return Verdict(False, 0.0, f"its file decodes to {found.shape}, needs {image.shape}")
    same = float((found == image).all(axis=-1).mean())
    return verdict(same == 1, same, f"its file gives back {same:.1%} of the pixels, needs all")
