"""How much samples of one condition differ, as a share of how much real images do: what no loss says of a generator."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.generators.adversarial import coarse, signed
from pipelines.train.data import TrainingSet

REAL_PAIRS = 8
"""Most pairs of a stratum's real images that variety is compared with."""

Pixels = NDArray[np.uint8]


def variety(drawn: Pixels, data: TrainingSet) -> float | None:
    """Return the mean difference of two pictures of one condition over that of two real images of one stratum.

    1 is as varied as real images, 0 one picture a condition; None where no stratum has two images that differ. Pictures
    are compared as means over blocks without their own mean colour (`coarse`), so that neither grain nor tone, which is a
    condition, passes for variety.

    Args:
        drawn: uint8 (2n, r, r, 3), the two pictures of a condition next to each other.
    """
    real = []
    for group in range(len(data.strata)):
        mine = np.flatnonzero(data.groups.numpy() == group)[: 2 * REAL_PAIRS]
        real += mine[: len(mine) // 2 * 2].tolist()
    among_real = _pair_difference(data.pixels[real]) if real else 0.0
    return _pair_difference(torch.from_numpy(drawn)) / among_real if among_real > 0 else None


def _pair_difference(pixels: Tensor) -> float:
    """Return the mean absolute difference of pictures 0 and 1, 2 and 3, ... of (2n, r, r, 3)."""
    flat = coarse(signed(pixels))
    return float((flat[::2] - flat[1::2]).abs().mean())
