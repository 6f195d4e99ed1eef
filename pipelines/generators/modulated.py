"""Convolutions that a style modulates: the layers of StyleGAN2's synthesis network (Karras et al. 2020a, section 2).

The activation's gain of sqrt(2) is put into the small factors before it (leaky ReLU of g x is g times that of x for g > 0), so
that no pass over the maps is spent on it: the same function in a third fewer passes.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.generators.equalised import GAIN, LEAK, EqualLinear, blur

STYLE: Final = 128
"""Numbers in a style."""


class ModulatedConv(nn.Module):
    """Convolution whose weights each image's style scales, and whose outputs are scaled back (Karras et al. 2020a, eq. 1-3).

    w'_ijk = s_i w_ijk; w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + eps). Scaling the input by s and the output by the root is the
    same and needs no weights of each image's own. `up` doubles the side: a transposed convolution, then a blur.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, up: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel, kernel))
        self.affine = EqualLinear(STYLE, channels_in, bias=1.0)
        self.gain, self.up = 1 / math.sqrt(channels_in * kernel**2), up

    def forward(self, x: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of w' (n, c, h, w), not demodulated, and the factors (n, c, 1, 1) that demodulate them."""
        scale, weight = self.affine(style), self.weight * self.gain
        x = x * scale[:, :, None, None]
        if self.up:
            x = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, gain=4)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        power = scale.square() @ weight.square().sum(dim=(2, 3)).T
        return x, (power + 1e-8).rsqrt()[:, :, None, None]


class StyledLayer(nn.Module):
    """Modulated convolution, demodulation, noise, bias, activation."""

    def __init__(self, channels_in: int, channels_out: int, *, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(channels_in, channels_out, 3, up=up)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        x, demodulation = self.conv(x, style)
        added = noise * (self.strength * GAIN) + (self.bias * GAIN)[:, None, None]
        return F.leaky_relu_(torch.addcmul(added, x, demodulation * GAIN), LEAK)


class ToRgb(nn.Module):
    """1 x 1 modulated convolution to colour, not demodulated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(channels, 3, 1)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        colours: Tensor = self.conv(x, style)[0] + self.bias[:, None, None]
        return colours
