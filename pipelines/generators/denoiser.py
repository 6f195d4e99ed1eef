"""The network of the diffusion generator, and the smaller one that guides it: a diffusers UNet with our conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from pipelines.generators.conditioning import Conditioner
from pipelines.generators.space import Space
from schemas.errors import ParamsError

WIDTH: Final = 64
SMALLEST: Final = 4
"""The network halves planes twice, so their sides are multiples of this."""

EXPLICIT_TOKENS: Final = 256
"""Longest sequence attended to by plain matrix products in training: see `attend_for_training`."""

WIDTHS: Final = (64, 96, 128)

GUIDING_WIDTHS: Final = (32, 48, 64)
"""Of the guiding network: a fifth of the weights."""

LAYERS: Final = (3, 2, 1)
"""Residual layers at the planes' side, half of it and a quarter, on the way down; the way up has one more of each."""

SHALLOW: Final = (1, 1, 1)
"""Layers of the guiding network, and of a checkpoint that does not say how many it has."""


class Denoiser(nn.Module):
    """The network: predicts v from noisy planes, time and conditions."""

    def __init__(self, planes: int, side: int, widths: Sequence[int] = WIDTHS, layers: Sequence[int] = LAYERS) -> None:
        super().__init__()
        self.conditioner = Conditioner(WIDTH)
        self.unet: Any = UNet2DConditionModel(
            sample_size=side,
            in_channels=planes,
            out_channels=planes,
            block_out_channels=tuple(widths),
            layers_per_block=tuple(layers),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
            norm_num_groups=16,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=WIDTH,
        )

    def forward(self, noisy: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        """Return v (n, c, h, w) for noisy planes (n, c, h, w), time steps (n,) and condition codes (n, 4)."""
        tokens, pooled = self.conditioner(codes)
        predicted: Tensor = self.unet(noisy, time, encoder_hidden_states=tokens, class_labels=pooled).sample
        return predicted


def denoiser_in(
    space: Space, resolution: int, widths: Sequence[int] = WIDTHS, layers: Sequence[int] = LAYERS
) -> Denoiser:
    """Return an untrained network for pictures of `resolution` px in a space.

    Args:
        widths: feature maps at the planes' side, half of it and a quarter; multiples of 16.
        layers: residual layers at each, on the way down.

    Raises:
        ParamsError: the sides of the planes cannot be halved as often as the network does.
    """
    multiple = space.reduction * SMALLEST
    if resolution % multiple:
        raise ParamsError(
            f"ingest.resolution: got {resolution} px; diffusion in this space needs a multiple of {multiple} "
            f"(planes are {space.reduction} times smaller); use {max(1, round(resolution / multiple)) * multiple}"
        )
    return Denoiser(space.channels, resolution // space.reduction, widths, layers)


def attend_for_training(denoiser: Denoiser, mixed_precision: str) -> None:
    """Let a denoiser on CPU in bf16 attend by plain matrix products: torch's fused attention is slow backwards there.

    Measured, forwards and backwards together: 4.5 times as fast at 64 tokens, 1.06 at 256, 0.6 at 1,024; in float32 the
    fused one wins from 64 on. The function computed is the same but for rounding, so samplers need not know.
    """
    tokens = (denoiser.unet.config.sample_size // 2) ** 2
    if mixed_precision == "bf16" and tokens <= EXPLICIT_TOKENS and not torch.cuda.is_available():
        denoiser.unet.set_attn_processor(AttnProcessor())
