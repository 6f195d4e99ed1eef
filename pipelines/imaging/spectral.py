"""The space generators work in: a truncated 4x4 block cosine transform of opponent colours.

A 64 x 64 RGB picture becomes 24 planes of 16 x 16: all 16 cosine coefficients of lightness and the 4 lowest of each
chroma, each divided by a power of its standard deviation over phantoms. Linear, exact to invert but for the dropped chroma, and
the same for every skin tone: there is no learned autoencoder that could favour one. Against a plain 4x pixel-unshuffle
(48 planes) it halves the input and, because fine detail is scaled up in training and down again in the picture, what
an under-trained network gets wrong shows as a hundredth of a grey level instead of as grain (docs/log.md).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK: Final = 4
PLANES: Final = 24

_OPPONENT: Final = torch.linalg.qr(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]]).T)[0].T
"""Orthonormal rows: lightness, red-blue, green-magenta (signs as QR gives them; both ways use the same)."""


def _cosine_basis() -> Tensor:
    """Return the orthonormal DCT-II basis of a 4-sample signal, shape (frequency, sample)."""
    n = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos(torch.pi * (n + 0.5) * n[:, None] / BLOCK) * (2 / BLOCK) ** 0.5
    basis[0] /= 2**0.5
    return basis.float()


def _kernels() -> Tensor:
    """Return the analysis filters, shape (24, 3, 4, 4), orthonormal: lowest frequencies first within a colour."""
    basis = _cosine_basis()
    order = sorted(((u, v) for u in range(BLOCK) for v in range(BLOCK)), key=lambda uv: (uv[0] + uv[1], uv))
    rows = []
    for colour, kept in zip(
        _OPPONENT, (order, [(0, 0), (0, 1), (1, 0), (1, 1)], [(0, 0), (0, 1), (1, 0), (1, 1)]), strict=True
    ):
        rows += [colour[:, None, None] * torch.outer(basis[u], basis[v]) for u, v in kept]
    return torch.stack(rows)


class Spectral(nn.Module):
    """Pixels to scaled coefficients and back."""

    channels: Final = PLANES
    reduction: Final = BLOCK
    filters: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", _kernels(), persistent=False)
        self.register_buffer("mean", torch.zeros(PLANES))
        self.register_buffer("scale", torch.ones(PLANES))

    @torch.no_grad()
    def fit(self, pixels: Tensor, whitening: float = 1.0) -> None:
        """Set mean and scale from uint8 `pixels` (n, r, r, 3) so that coefficients have zero mean, unit mean variance.

        Args:
            whitening: 1 gives every coefficient unit variance; 0 leaves their proportions as in the picture; between,
                a coefficient's standard deviation becomes its (1 - whitening)th power.
        """
        raw = self._analyse(pixels)
        deviation = raw.std(dim=(0, 2, 3)).clamp_min(1e-3)
        kept = deviation ** (1 - whitening)
        self.mean.copy_(raw.mean(dim=(0, 2, 3)))
        self.scale.copy_(deviation / kept * kept.square().mean().sqrt())

    def _analyse(self, pixels: Tensor) -> Tensor:
        return F.conv2d(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, self.filters, stride=BLOCK)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return float32 coefficients (n, 24, r/4, r/4) of uint8 pixels (n, r, r, 3)."""
        return (self._analyse(pixels) - self.mean[:, None, None]) / self.scale[:, None, None]

    def to_srgb(self, coefficients: Tensor) -> Tensor:
        """Return sRGB (n, r, r, 3) of coefficients (n, 24, r/4, r/4), not clipped to [0, 1]; gradients flow."""
        raw = coefficients.float() * self.scale[:, None, None] + self.mean[:, None, None]
        colours = F.conv_transpose2d(raw, self.filters, stride=BLOCK)
        return ((colours + 1) / 2).permute(0, 2, 3, 1)

    def decode(self, coefficients: Tensor) -> Tensor:
        """Return uint8 pixels (n, r, r, 3) of coefficients (n, 24, r/4, r/4); out-of-range values are clipped."""
        return srgb8(self.to_srgb(coefficients))

    def importance(self) -> Tensor:
        """Return each plane's weight in a loss (24,), mean 1: the root of its scale, so that tone counts most."""
        root = self.scale.sqrt()
        return root / root.mean()


def srgb8(srgb: Tensor) -> Tensor:
    """Return uint8 pixels of sRGB in [0, 1], the same shape; values beyond are clipped."""
    return (srgb * 255).round().clamp(0, 255).to(torch.uint8).contiguous()
