"""Layers with an equalised learning rate, filters between scales, deviation over a batch: what StyleGAN2 is built of.

Sources: Karras et al. (2018), sections 3 and 4; filters, Zhang (2019) as used by Karras et al. (2020a).
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP: Final = 4
"""Images over which the discriminator looks at the standard deviation."""

FIR: Final = (1.0, 3.0, 3.0, 1.0)


LEAK: Final = 0.2
GAIN: Final = math.sqrt(2)
"""What keeps the variance through a leaky ReLU."""


def activate(x: Tensor) -> Tensor:
    """Return leaky ReLU (slope 0.2) times sqrt(2), which keeps the variance."""
    return F.leaky_relu(x, LEAK) * GAIN


def pixel_norm(x: Tensor) -> Tensor:
    """Return vectors (n, c) scaled to unit mean square (Karras et al. 2018, section 4.2)."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def blur(x: Tensor, pad: int, gain: float = 1.0) -> Tensor:
    """Return maps (n, c, h, w) filtered by [1, 3, 3, 1] both ways, whose sum is `gain`; zeros beyond the edge."""
    taps = torch.tensor(FIR, device=x.device, dtype=x.dtype) / sum(FIR) * math.sqrt(gain)
    channels = x.shape[1]
    x = F.conv2d(x, taps.view(1, 1, 4, 1).expand(channels, -1, -1, -1), padding=(pad, 0), groups=channels)
    return F.conv2d(x, taps.view(1, 1, 1, 4).expand(channels, -1, -1, -1), padding=(0, pad), groups=channels)


class EqualLinear(nn.Module):
    """Linear layer whose weights are scaled when used, so that all learn alike (Karras et al. 2018, section 4.1)."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.gain, self.rate = rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.gain, self.bias * self.rate)


class EqualConv(nn.Module):
    """Convolution with equalised weights, then the activation; `down` blurs and halves the side.

    The activation's gain is in the weights and the bias, which is the same and costs no pass over the maps.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, down: bool = False, gain: float = GAIN
    ) -> None:
        """Draw the weights.

        Args:
            gain: of the activation.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.scale, self.down, self.pad = gain / math.sqrt(channels_in * kernel**2), down, kernel // 2
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        stride, pad = (2, 0) if self.down else (1, self.pad)
        x = blur(x, self.pad + 1) if self.down else x
        return F.leaky_relu_(F.conv2d(x, self.weight * self.scale, self.bias * self.gain, stride, pad), LEAK)


class ResidualBlock(nn.Module):
    """Two convolutions and a 1 x 1 beside them, to half the side; the sum is divided by sqrt(2) (Karras et al. 2020a)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = EqualConv(channels_in, channels_in, 3)
        self.second = EqualConv(channels_in, channels_out, 3, down=True, gain=1.0)  # sqrt(2) / sqrt(2)
        self.skip = nn.Parameter(torch.randn(channels_out, channels_in, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        beside = F.conv2d(F.avg_pool2d(x, 2), self.skip / math.sqrt(2 * x.shape[1]))
        sides: Tensor = self.second(self.first(x)) + beside
        return sides


def with_deviation(x: Tensor) -> Tensor:
    """Return features (n, c + 1, h, w): the last map holds the standard deviation over a group of images (Karras et al. 2018).

    Image i is grouped with those a quarter, a half and three quarters of the batch on, so that two processes, which take turns in
    the batch, form the groups that one forms, if each has a multiple of four images.
    """
    group = math.gcd(GROUP, len(x))
    parted = x.reshape(group, -1, *x.shape[1:])
    deviation = (parted.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return torch.cat([x, deviation.repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)
