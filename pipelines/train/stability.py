"""A run whose losses have left what an update can bring back stops, and says what to change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from schemas.errors import CheckFailed

RUNAWAY: Final = 1e5
"""A loss or score beyond this is no longer learning: a GAN's discriminator has run away, or a step was far too large."""


def check_losses(name: str, losses: Mapping[str, float], step: int) -> None:
    """Raise CheckFailed if a loss or score of generator `name` is not finite, or beyond `RUNAWAY` either way."""
    if all(math.isfinite(v) and abs(v) <= RUNAWAY for v in losses.values()):
        return
    said = ", ".join(f"{k} {v:g}" for k, v in losses.items())
    raise CheckFailed(
        f"train {name}: {said} at step {step}; losses and scores need to be finite and within {RUNAWAY:g}, the training "
        f"diverges; lower train.{name}.learning_rate"
    )
