"""Networks as diffusers and transformers save them, random and tiny, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from pipelines.generators.pinned import weights_sha256
from schemas.train_params import AutoencoderParams


def tiny_autoencoder(folder: Path, seed: int = 0, channels: tuple[int, ...] = (8, 8, 8, 8)) -> AutoencoderParams:
    """Save a random autoencoder, 8 times smaller planes for four `channels`, and return its pinned params."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        levels = len(channels)
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=channels, layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64,
        ).save_pretrained(folder)  # fmt: skip
    return AutoencoderParams(path=str(folder), sha256=weights_sha256(folder))
