"""Planes of a learned autoencoder (Rombach et al. 2022), read in diffusers' folder format and never changed.

A learned autoencoder may be worse on dark skin than on light: pipelines/train/round_trip.py measures it before training.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from pipelines.generators.pinned import Refusal, check_pin, folder_at, load_pretrained
from pipelines.imaging.spectral import srgb8
from schemas.pinned_params import AutoencoderParams

AT_ONCE = 8
"""Pictures encoded or decoded at once where no gradient is asked for: at 512 px each takes about half a GiB."""


class Latent(nn.Module):
    """The mean of the autoencoder's posterior, centred and scaled: (n, r, r, 3) to (n, c, r/8, r/8) for an f8 one.

    Not a sample of the posterior, as Stable Diffusion was trained on: its spread is a thousandth of the planes' own, and
    without it a picture has one code. The autoencoder is shared by every copy of this module and is in no `state_dict`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        config = autoencoder.config
        self._frozen = Frozen(autoencoder.eval().requires_grad_(False))
        self.channels: int = config.latent_channels
        self.reduction: int = 2 ** (len(config.block_out_channels) - 1)
        # What the autoencoder's publisher scaled by; `fit` replaces it where the network is trained from scratch.
        self.register_buffer("mean", torch.full((self.channels,), float(config.shift_factor or 0.0)))
        self.register_buffer("scale", torch.full((self.channels,), 1 / config.scaling_factor))

    @classmethod
    def read(cls, params: AutoencoderParams, who: str, error: Refusal) -> Self:
        """Return the space of a pinned autoencoder; `who` begins the messages.

        Raises:
            error: the folder is missing, holds no autoencoder, or its sha256 is not the pinned one.
        """
        folder = folder_at(params.path)
        check_pin(folder, params.sha256, who, error)
        return cls(load_pretrained(AutoencoderKL, folder, who, error))

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._frozen.net._apply(fn)  # moves to the device with this module, though it is no part of its state
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def fit(self, pixels: Tensor, whitening: float = 1.0) -> None:
        """Set each plane's mean and standard deviation from uint8 `pixels`; `whitening` changes none."""
        del whitening
        raw = self._analyse(pixels)
        self.mean.copy_(raw.mean(dim=(0, 2, 3)))
        self.scale.copy_(raw.std(dim=(0, 2, 3)).clamp_min(1e-3))

    def encode(self, pixels: Tensor) -> Tensor:
        """Return float32 planes of uint8 pixels; no gradient flows."""
        return (self._analyse(pixels) - self.mean[:, None, None]) / self.scale[:, None, None]

    def to_srgb(self, planes: Tensor) -> Tensor:
        """Return sRGB, not clipped to [0, 1]; gradients flow to the planes through the whole decoder."""
        raw = planes.float() * self.scale[:, None, None] + self.mean[:, None, None]
        colours: Tensor = self._frozen.net.decode(raw).sample
        return ((colours + 1) / 2).permute(0, 2, 3, 1)

    @torch.no_grad()
    def decode(self, planes: Tensor) -> Tensor:
        """Return uint8 pixels of planes; out-of-range values are clipped."""
        return torch.cat([srgb8(self.to_srgb(part)) for part in planes.split(AT_ONCE)])

    def importance(self) -> Tensor:
        """Return ones (c,): what a plane of a learned code means is not known."""
        return self.mean.new_ones(self.channels)

    @torch.no_grad()
    def _analyse(self, pixels: Tensor) -> Tensor:
        parts = [p.permute(0, 3, 1, 2).float() / 127.5 - 1 for p in pixels.split(AT_ONCE)]
        return torch.cat([self._frozen.net.encode(p).latent_dist.mode() for p in parts])


class Frozen:
    """Somebody else's network, shared and not copied when the module that holds it is."""

    def __init__(self, net: Any) -> None:
        self.net = net

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return self
