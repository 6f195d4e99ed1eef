"""A Stable Diffusion model (Rombach et al. 2022) in diffusers' folder format: what fine-tuning it takes from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from pipelines.generators.latent import Latent
from pipelines.generators.pinned import Refusal, check_pin, load_pretrained, pretrained_folder
from schemas.pinned_params import PretrainedParams

_SCHEDULE: Final = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
)
"""What of a base's scheduler its network was trained with; the rest is about sampling, which is ours."""


@dataclass(frozen=True)
class Pretrained:
    """The parts of a base that are used; none of their weights ever change."""

    folder: Path
    unet: Any
    space: Latent

    @property
    def multiple(self) -> int:
        """What a picture's side must be a multiple of, px: planes are reduced, and halved between the UNet's levels."""
        return int(self.space.reduction * 2 ** (len(self.unet.config.block_out_channels) - 1))


def open_pretrained(
    params: PretrainedParams, who: str, error: Refusal, held: torch.dtype = torch.float32
) -> Pretrained:
    """Return a pinned base whose UNet is held in the type `held`; `who` begins the messages.

    Raises:
        error: it is not there, cannot be fetched, is not the pinned one, or is no Stable Diffusion 1.x or 2.x.
    """
    folder = pretrained_folder(params, who, error)
    check_pin(folder, params.sha256, who, error)
    unet = load_pretrained(UNet2DConditionModel, folder / "unet", who, error, torch_dtype=held)
    space = Latent(load_pretrained(AutoencoderKL, folder / "vae", who, error))
    config = unet.config
    odd = config.addition_embed_type or config.class_embed_type or config.encoder_hid_dim_type
    if odd or (config.in_channels, config.out_channels) != (space.channels, space.channels):
        raise error(
            f"{who}: the unet in {folder} takes {config.in_channels} planes and {odd or 'text'}, the vae has "
            f"{space.channels}; needs Stable Diffusion 1.x or 2.x text to image, not XL, inpainting or upscaling"
        )
    return Pretrained(folder, unet, space)


def schedule_of(base: Pretrained, zero_terminal_snr: bool, who: str, error: Refusal) -> dict[str, Any]:
    """Return the noise schedule a base was trained with, as options of diffusers' schedulers.

    Raises:
        error: it predicts neither noise nor v, or is to be rescaled and predicts noise, of which there is all at SNR 0.
    """
    try:
        config = DDPMScheduler.from_pretrained(base.folder / "scheduler", local_files_only=True).config
    except (OSError, ValueError) as cause:
        first = str(cause).splitlines()[0]
        raise error(f"{who}: no scheduler in {base.folder}/scheduler ({first}); save the whole pipeline") from None
    kind = config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise error(f"{who}: predicts {kind!r}; epsilon or v_prediction is needed; take another base")
    if zero_terminal_snr and kind == "epsilon":
        raise error(
            "train.stable_diffusion.zero_terminal_snr: the base predicts epsilon; needs v_prediction; "
            "set it to false or take another base"
        )
    schedule = {name: config[name] for name in _SCHEDULE if config[name] is not None}
    return {**schedule, "timestep_spacing": "trailing", "rescale_betas_zero_snr": zero_terminal_snr}


@torch.no_grad()
def embedded_prompt(base: Pretrained, prompt: str, who: str, error: Refusal) -> Tensor:
    """Return the base's embedding of a text, float32 (1, tokens, width), padded to the text encoder's length.

    Raises:
        error: tokenizer or text encoder cannot be read, or the prompt is too long for them.
    """
    from transformers import CLIPTextModel, CLIPTokenizer

    encoder = load_pretrained(CLIPTextModel, base.folder / "text_encoder", who, error)
    try:
        tokenizer = CLIPTokenizer.from_pretrained(base.folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError, TypeError) as cause:
        first = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise error(f"{who}: no tokenizer in {base.folder}/tokenizer ({first}); save the whole pipeline") from None
    room = encoder.config.max_position_embeddings
    ids = tokenizer(prompt, padding="max_length", max_length=room, return_tensors="pt").input_ids
    if ids.shape[1] > room:
        raise error(f"train.stable_diffusion.prompt: {ids.shape[1]} tokens, the base reads {room}; shorten it")
    result: Tensor = encoder.eval()(ids).last_hidden_state.float()
    return result
