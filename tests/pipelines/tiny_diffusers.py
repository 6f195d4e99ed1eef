"""Networks as diffusers and transformers save them, random and tiny, for tests of what reads them."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from pipelines.generators.checkpoint import save_checkpoint
from pipelines.generators.pinned import weights_sha256
from pipelines.generators.stable_diffusion import StableDiffusionRecipe
from pipelines.train.sheets import exported
from schemas.params import SamplerParams
from schemas.pinned_params import AutoencoderParams, PretrainedParams
from schemas.train_params import StableDiffusionParams

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def tiny_autoencoder(folder: Path, seed: int = 0, channels: tuple[int, ...] = (8, 8, 8, 8)) -> AutoencoderParams:
    """Save a random autoencoder, 8 times smaller planes for four `channels`, and return its pinned params."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        levels = len(channels)
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=channels, layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64,
        ).save_pretrained(folder)  # fmt: skip
    return AutoencoderParams(path=str(folder), sha256=weights_sha256(folder), licence="CC0-1.0")


@torch.no_grad()
def copying_autoencoder(folder: Path, darkens: bool = False) -> AutoencoderParams:
    """Save an autoencoder that gives every picture back, or all but dark colours, which come back darker.

    Built by hand: residual branches are 0, group norms are made linear by two channels of +-100 beside the colours and
    their negatives, and SiLU works where it is linear; or, to darken, where it bends dark values (below about 3) down.
    """
    net = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",), block_out_channels=(8,),
        layers_per_block=1, latent_channels=4, norm_num_groups=1, sample_size=64, mid_block_add_attention=False,
    )  # fmt: skip
    for name, parameter in net.named_parameters():
        if "conv2" in name:
            parameter.zero_()
    signs, constants = torch.tensor([1.0] * 3 + [-1.0] * 3), torch.tensor([0.0] * 6 + [100, -100])
    for half, gain, above in ((net.encoder, 1.0, 20.0), (net.decoder, *((4.0, 4.0) if darkens else (1.0, 20.0)))):
        for conv in (half.conv_in, half.conv_out):
            conv.weight.zero_()
            conv.bias.zero_()
        for i in range(6):
            half.conv_in.weight[i, i % 3, 1, 1] = signs[i]
        half.conv_in.bias.copy_(constants)
        half.conv_norm_out.weight.fill_(50 * gain)
        half.conv_norm_out.bias.fill_(above)
        for i in range(3):
            half.conv_out.weight[i, i, 1, 1] = 1 / gain
            half.conv_out.bias[i] = -above / gain
    net.encoder.conv_out.bias[4:] = -30.0
    for conv in (net.quant_conv, net.post_quant_conv):
        conv.weight.copy_(torch.eye(len(conv.weight))[:, :, None, None])
        conv.bias.zero_()
    net.save_pretrained(folder)
    return AutoencoderParams(path=str(folder), sha256=weights_sha256(folder), licence="CC0-1.0")


def tiny_stable_diffusion(folder: Path, seed: int = 0, predicts: str = "epsilon") -> PretrainedParams:
    """Save a random Stable Diffusion in the layout of version 1.5 and return its pinned params."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _unet().save_pretrained(folder / "unet")
        tiny_autoencoder(folder / "vae", seed, channels=(4, 4, 4, 4))
        words = _tokenizer(folder / "tokenizer")
        CLIPTextModel(
            CLIPTextConfig(
                vocab_size=words, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                max_position_embeddings=77, bos_token_id=0, eos_token_id=1, pad_token_id=1,
            )
        ).save_pretrained(folder / "text_encoder")  # fmt: skip
    scheduler: Any = (
        PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
        if predicts == "epsilon"
        else DDPMScheduler(**BETAS, prediction_type=predicts)
    )
    scheduler.save_pretrained(folder / "scheduler")
    return PretrainedParams(path=str(folder), sha256=weights_sha256(folder), licence="LicenseRef-CreativeML-OpenRAIL-M")


def _unet() -> UNet2DConditionModel:
    across = ("CrossAttnDownBlock2D",) * 3, ("CrossAttnUpBlock2D",) * 3
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4,
        cross_attention_dim=16, attention_head_dim=2,
        down_block_types=(*across[0], "DownBlock2D"), up_block_types=("UpBlock2D", *across[1]),
    )  # fmt: skip


def _tokenizer(folder: Path) -> int:
    """Write vocab.json and merges.txt as version 1.5 has them and return the vocabulary's size."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = [letter + tail for tail in ("", "</w>") for letter in string.ascii_lowercase + "-"]
    vocabulary = {word: i for i, word in enumerate(["<|startoftext|>", "<|endoftext|>", *ends])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return len(vocabulary)


ONE_PASS = SamplerParams(steps=2, guidance_tone=1, guidance_lesion=1)


def params_on(base: PretrainedParams | None, **changes: object) -> StableDiffusionParams:
    return StableDiffusionParams.model_validate({"base": base, "rank": 2, "mixed_precision": "no", **changes})


def recipe_on(base: PretrainedParams, resolution: int = 64, **changes: object) -> StableDiffusionRecipe:
    torch.manual_seed(3)
    torch.set_num_threads(1)
    return StableDiffusionRecipe(params_on(base, **changes), resolution)


def saved(recipe: StableDiffusionRecipe, folder: Path) -> Path:
    save_checkpoint(exported(recipe, recipe.net), recipe.config(), folder)
    return folder
