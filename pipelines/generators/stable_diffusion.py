"""Stable Diffusion, fine-tuned by adapters: the base stays as it is, LoRA and condition tokens are what is learned.

Sources: Rombach et al. (2022); LoRA, Hu et al. (2022); min-SNR weighting, Hang et al. (2023); zero terminal SNR, Lin et
al. (2024), where the base predicts v. We differ from the usual fine-tune in the conditions: one fixed prompt stands for
all images, and behind its embedding stand four tokens of our own, so that tone is a continuous angle, "unknown" and
"null" are values of their own, and tone and lesion are dropped and guided apart (conditioning.py, guidance.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.generators.checkpoint import load_checkpoint
from pipelines.generators.conditioning import Conditioner, drop, encode
from pipelines.generators.guidance import draw_planes
from pipelines.generators.interface import Condition, Losses, Step
from pipelines.generators.latent import Frozen
from pipelines.generators.lora import adapted, plant, weight_type
from pipelines.generators.parts import in_parts, learn
from pipelines.generators.pretrained import Pretrained, embedded_prompt, open_pretrained, schedule_of
from schemas.errors import CheckpointError, ParamsError
from schemas.params import SamplerParams
from schemas.pinned_params import PretrainedParams
from schemas.train_params import StableDiffusionParams

WIDTH: Final = 64
MIN_SNR_GAMMA: Final = 5.0
LEAST_WEIGHT: Final = 0.05
UNKNOWN_SHARE: Final = 0.05
AT_ONCE: Final = 8
"""Images drawn at once, however many are asked for: a block of 24 at 512 px with guidance would be 72 passes wide."""


class LoraDenoiser(nn.Module):
    """A base's UNet with adapters, and condition tokens behind the prompt. Holds no weight of the base."""

    prompt: Tensor

    def __init__(self, unet: Any, prompt: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        width = unet.config.cross_attention_dim
        self.conditioner = Conditioner(WIDTH)
        self.project = nn.Linear(WIDTH, width)
        self.register_buffer("prompt", prompt)
        self.lora = adapted(unet, rank, alpha)
        self._frozen = Frozen(unet)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._frozen.net._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, noisy: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        """Return v or noise (n, c, h, w) for noisy planes (n, c, h, w), time steps (n,) and condition codes (n, 4)."""
        tokens, _ = self.conditioner(codes)
        context = torch.cat([self.prompt.expand(len(noisy), -1, -1), self.project(tokens)], dim=1)
        held = weight_type(self._frozen.net)
        predicted: Tensor = self._frozen.net(noisy.to(held), time, encoder_hidden_states=context.to(held)).sample
        return predicted


class _WithBase(nn.Module):
    """A denoiser whose base is a part of it, so that whoever works on a module's tree finds the base's weights too."""

    def __init__(self, denoiser: LoraDenoiser) -> None:
        super().__init__()
        self.conditioner, self.project, self.unet = denoiser.conditioner, denoiser.project, denoiser._frozen.net
        self._denoiser = Frozen(denoiser)

    def forward(self, noisy: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        predicted: Tensor = self._denoiser.net(noisy, time, codes)
        return predicted


class StableDiffusionRecipe:
    """Training of adapters and condition tokens."""

    name = "stable_diffusion"
    whitening = 0.0
    exported = ("denoiser",)

    def __init__(self, params: StableDiffusionParams, resolution: int) -> None:
        where = "train.stable_diffusion.base"
        if params.base is None:
            raise ParamsError(
                f"{where}: none; needs the model to fine-tune; give path (or hub, revision), sha256, licence"
            )
        self.params = params
        self.resolution = resolution
        held = torch.bfloat16 if params.mixed_precision == "bf16" else torch.float32
        base = open_pretrained(params.base, where, ParamsError, held)
        _check_side(base, resolution, ParamsError)
        self.space = base.space
        self.schedule = schedule_of(base, params.zero_terminal_snr, where, ParamsError)
        self._noiser: Any = DDPMScheduler(**self.schedule)
        prompt = embedded_prompt(base, params.prompt, where, ParamsError)
        if params.gradient_checkpointing:
            base.unet.enable_gradient_checkpointing()
        denoiser = LoraDenoiser(base.unet, prompt, params.rank, params.alpha)
        self.net = nn.ModuleDict({"denoiser": denoiser, "latent": self.space})

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.net["denoiser"].parameters())]

    def sharded(self, shard: Callable[[nn.Module], None]) -> Mapping[str, nn.Module]:
        """Part the base, its adapters and the condition tokens between processes; see `train.sharding`."""
        denoiser: Any = self.net["denoiser"]
        everything = _WithBase(denoiser)
        shard(everything)
        plant(denoiser.lora, denoiser._frozen.net)  # sharding replaced the adapters inside the base
        return {"denoiser": everything}

    def step(self, context: Step) -> Losses:
        n, side = len(context.pixels), self.resolution // self.space.reduction
        device, p = context.pixels.device, self.params.dropout
        limit = self._noiser.config.num_train_timesteps
        # Everything random is drawn for the whole step before it is parted: parts change no number but by rounding.
        time = (context.draws.stratified(n) * limit).long().clamp_max(limit - 1).to(device)
        noise = context.draws.normal(n, self.space.channels, side, side).to(device)
        codes = drop(context.conditions, p.drop_tone, p.drop_lesion, p.drop_both, UNKNOWN_SHARE, context.draws)
        total = {"loss": torch.zeros((), device=device), "mse": torch.zeros((), device=device)}

        def share(part: Tensor) -> Tensor:
            loss, error = self._losses(context, context.pixels[part], time[part], noise[part], codes[part])
            total["loss"] += loss.detach().sum() / n
            total["mse"] += error.sum() / n
            return loss.sum() / n

        learn(context, "denoiser", 0, self.parameter_groups()[0], in_parts(n, self.params.accumulate, device), share)
        return total

    def _losses(
        self, context: Step, pixels: Tensor, time: Tensor, noise: Tensor, codes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return each image's weighted loss and its squared error (n,)."""
        clean = self.space.encode(pixels)
        with context.backend.autocast():
            predicted = context.wrapped["denoiser"](self._noiser.add_noise(clean, noise, time), time, codes)
        target = self._noiser.get_velocity(clean, noise, time) if self._predicts_v else noise
        error = ((predicted.float() - target) ** 2).mean(dim=(1, 2, 3))
        return error * self._weight(time), error.detach()

    @property
    def _predicts_v(self) -> bool:
        return bool(self.schedule["prediction_type"] == "v_prediction")

    def _weight(self, time: Tensor) -> Tensor:
        """Return min(SNR, gamma) / SNR for noise, min(SNR, gamma) / (SNR + 1) for v: min-SNR weighting."""
        alpha = self._noiser.alphas_cumprod.to(time.device)[time]
        snr = alpha / (1 - alpha)
        kept = snr.clamp_max(MIN_SNR_GAMMA)
        # The floor is for v at zero terminal SNR, where the picture's tone is decided; the weight of noise is 1 there.
        return (kept / (snr + 1)).clamp_min(LEAST_WEIGHT) if self._predicts_v else kept / snr

    def config(self) -> dict[str, Any]:
        chosen = self.params.model_dump(mode="json", include={"base", "rank", "alpha", "prompt"})
        return {"generator": self.name, "resolution": self.resolution, "schedule": self.schedule, **chosen}


def _check_side(base: Pretrained, resolution: int, error: Any) -> None:
    if resolution % base.multiple:
        raise error(
            f"ingest.resolution: got {resolution} px; stable_diffusion on this base needs a multiple of {base.multiple}; "
            f"use {max(1, round(resolution / base.multiple)) * base.multiple}"
        )


class StableDiffusionGenerator:
    """A base with the adapters and condition tokens of a checkpoint, and a sampler."""

    name = "stable_diffusion"

    def __init__(self, folder: Path, sampler: SamplerParams) -> None:
        checkpoint = load_checkpoint(folder, self.name)
        config = checkpoint.config
        recorded = PretrainedParams(**config["base"])
        self.resolution: int = config["resolution"]
        self.checkpoint_sha256 = checkpoint.sha256
        self.settings = {"base": recorded.sha256, **sampler.identity(guiding=False)}
        self.sampler = sampler
        base = open_pretrained(recorded, f"{folder}: made for the base {recorded.name}", CheckpointError)
        _check_side(base, self.resolution, CheckpointError)
        prompt = torch.zeros_like(checkpoint.tensors.get("denoiser.prompt", torch.zeros(())), dtype=torch.float32)
        denoiser = LoraDenoiser(base.unet, prompt, config["rank"], config["alpha"])
        net = nn.ModuleDict({"denoiser": denoiser})
        checkpoint.load_into(net)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._schedule, self._denoiser = config["schedule"], net["denoiser"].eval().to(self.device)
        self._space = base.space.to(self.device)

    @torch.inference_mode()
    def sample(self, conditions: Sequence[Condition], keys: Sequence[str]) -> NDArray[np.uint8]:
        """Return images; see `Generator.sample`. Up to three network passes a step, by the guidance asked for."""
        side = self.resolution // self._space.reduction
        shape = (self._space.channels, side, side)
        codes = encode(conditions).to(self.device)
        drawn = []
        for first in range(0, len(keys), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            planes = draw_planes(self._predict, self._schedule, self.sampler, codes[some], keys[some], shape)
            drawn.append(self._space.decode(planes).cpu())
        return np.asarray(torch.cat(drawn).numpy())

    def _predict(self, state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        predicted: Tensor = self._denoiser(state, time.to(state.device).expand(len(state)), codes)
        return predicted
