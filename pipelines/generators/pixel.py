"""Pixels as planes: each block of pixels folded into channels (pixel-unshuffle), or the plain picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.imaging.spectral import srgb8


class Pixel(nn.Module):
    """A picture (n, r, r, 3) as planes (n, 3 x block^2, r/block, r/block), centred and scaled alike. Exact to invert."""

    mean: Tensor
    scale: Tensor

    def __init__(self, block: int) -> None:
        super().__init__()
        self.reduction = block
        self.channels = 3 * block * block
        self.register_buffer("mean", torch.full((3,), 0.5))
        self.register_buffer("scale", torch.full((1,), 0.5))

    @torch.no_grad()
    def fit(self, pixels: Tensor, whitening: float = 1.0) -> None:
        """Set each colour's mean and one scale for all from uint8 `pixels`; planes are alike, `whitening` changes none."""
        del whitening
        srgb = pixels.float() / 255
        self.mean.copy_(srgb.mean(dim=(0, 1, 2)))
        self.scale.copy_((srgb - self.mean).square().mean().sqrt().clamp_min(1e-3))

    def encode(self, pixels: Tensor) -> Tensor:
        """Return float32 planes of uint8 pixels."""
        scaled = (pixels.float() / 255 - self.mean) / self.scale
        return F.pixel_unshuffle(scaled.permute(0, 3, 1, 2), self.reduction)

    def to_srgb(self, planes: Tensor) -> Tensor:
        """Return sRGB, not clipped to [0, 1]; gradients flow."""
        return F.pixel_shuffle(planes.float(), self.reduction).permute(0, 2, 3, 1) * self.scale + self.mean

    def decode(self, planes: Tensor) -> Tensor:
        """Return uint8 pixels of planes; out-of-range values are clipped."""
        return srgb8(self.to_srgb(planes))

    def importance(self) -> Tensor:
        """Return ones (channels,): every pixel counts alike."""
        return self.mean.new_ones(self.channels)
