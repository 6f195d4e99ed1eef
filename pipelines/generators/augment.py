"""Adaptive discriminator augmentation (ADA): the discriminator sees moved, turned and stretched images, real and false.

Source: Karras et al. (2020b), "Training generative adversarial networks with limited data". Each transformation is
applied with probability p; p rises while the discriminator tells training images from false ones too easily, which
with few images means that it knows them by heart, and falls otherwise. Below p = 0.8 a transformation does not leak into what is
generated (section 3.1), so p stops there.

We differ in what is applied. Of the paper's `bgc` set the geometry stays: whole-pixel and sub-pixel shifts, uniform
scaling, rotation, stretching. Flips and quarter turns are left to the loop, which poses every real image at random
anyway. **Colour is left out**: brightness, contrast, hue and saturation are what skin tone is, and tone is a condition.
A picture of FST VI, brightened, under the code of FST VI teaches the discriminator that such a picture is in order; that
p < 0.8 does not leak is a statement about the limit of many images, and FST VI has the fewest. No condition speaks of
geometry.
Interpolation is bilinear at the images' own scale, where the paper filters at twice that.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.generators.draws import Draws
from pipelines.generators.interface import Backend

TARGET: Final = 0.6
"""Mean sign of the scores of real images above which p rises (Karras et al. 2020b, section 3.2)."""

INTERVAL: Final = 4
"""Batches between two changes of p, as in the paper."""

MOST: Final = 0.8
SHIFT: Final = 0.125
STRETCH: Final = 0.2
"""Standard deviation of log2 of a scale, as in the paper."""


class AdaptiveAugmentation(nn.Module):
    """Images to augmented images; its probability and what it has counted since the last change are buffers (saved)."""

    probability: Tensor
    counted: Tensor

    def __init__(self, images: int) -> None:
        """Start at p = 0.

        Args:
            images: real images seen while p goes from 0 to 1 at the fastest; 0 leaves p at 0.
        """
        super().__init__()
        self.images = images
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("counted", torch.zeros(3))  # sum of signs, images, batches

    def forward(self, images: Tensor, draws: Draws) -> Tensor:
        """Return images (n, 3, r, r), each transformed by its own draws; edges are mirrored."""
        p = float(self.probability)
        if p == 0:
            return images
        theta = transformations(len(images), images.shape[-1], p, draws).to(images)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    @torch.no_grad()
    def adapt(self, on_real: Tensor, backend: Backend) -> float:
        """Count the signs of the scores of real images (n,), change p every `INTERVAL` batches; return this batch's mean."""
        signs = torch.stack([on_real.sign().sum().float(), torch.tensor(float(len(on_real)), device=on_real.device)])
        total = backend.reduce(signs, "sum")
        self.counted += torch.cat([total, total.new_ones(1)])
        if self.counted[2] >= INTERVAL:
            if self.images:
                direction = torch.sign(self.counted[0] / self.counted[1] - TARGET)
                self.probability.copy_((self.probability + direction * self.counted[1] / self.images).clamp(0, MOST))
            self.counted.zero_()
        return float(total[0] / total[1])


def transformations(n: int, side: int, p: float, draws: Draws) -> Tensor:
    """Return (n, 2, 3) affine maps from the output's coordinates to the input's, in [-1, 1]; each part with probability p.

    A rotation comes before and after the stretching, each with the probability that gives p for either (the paper's).
    """
    on = [(draws.uniform(n) < q).float() for q in (p, p, 1 - math.sqrt(1 - p), p, 1 - math.sqrt(1 - p), p)]
    whole, turns = (torch.stack([draws.uniform(n) * 2 - 1 for _ in range(2)], dim=1) for _ in range(2))
    whole, turns, normal = whole * SHIFT * side, turns * math.pi, draws.normal(n, 4)
    shift = whole.round() * (2 / side) * on[0][:, None]
    even = torch.exp2(normal[:, 0] * STRETCH * on[1])
    stretch = torch.exp2(normal[:, 1] * STRETCH * on[3])
    fine = normal[:, 2:] * SHIFT * 2 * on[5][:, None]
    linear = _rotations(turns[:, 0] * on[2]) @ torch.diag_embed(torch.stack([even * stretch, even / stretch], dim=1))
    linear = linear @ _rotations(turns[:, 1] * on[4])
    return torch.cat([linear, (shift + fine)[:, :, None]], dim=2)


def _rotations(angles: Tensor) -> Tensor:
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)
