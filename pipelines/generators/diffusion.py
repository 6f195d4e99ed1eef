"""Conditional diffusion in a space of one's choice: a diffusers UNet, v-prediction, zero terminal SNR, two guidance scales.

Sources: v-prediction, Salimans & Ho (2022); zero terminal SNR and trailing time steps, Lin et al. (2024), without which
dark pictures drift to mid-grey; min-SNR weighting (gamma 5), Hang et al. (2023). We differ in weighting coefficients by
the root of their scale so that tone counts more than grain. Sampling is in guidance.py; the network that guides it
(autoguidance) learns here, from the same noised images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.generators.checkpoint import load_checkpoint
from pipelines.generators.compiling import compiled
from pipelines.generators.conditioning import drop, encode
from pipelines.generators.denoiser import GUIDING_WIDTHS, LAYERS, SHALLOW, attend_for_training, denoiser_in
from pipelines.generators.draws import Draws
from pipelines.generators.fairness import Fairness
from pipelines.generators.guidance import Predict, draw_planes
from pipelines.generators.interface import Condition, Losses, Step
from pipelines.generators.parts import in_parts, learn
from pipelines.generators.space import configured_space, recorded_space, space_config
from schemas.params import SamplerParams
from schemas.train_params import DiffusionParams

TRAIN_STEPS: Final = 1000
MIN_SNR_GAMMA: Final = 5.0
UNKNOWN_SHARE: Final = 0.05

SCHEDULE: Final[dict[str, Any]] = {
    "num_train_timesteps": TRAIN_STEPS,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
}


@dataclass(frozen=True)
class Noised:
    """A batch on its way to noise: planes (n, c, h, w), the velocity to predict, time steps (n,), codes (n, 4)."""

    noisy: Tensor
    velocity: Tensor
    time: Tensor
    codes: Tensor


@dataclass(frozen=True)
class _Outcome:
    """What the network makes of some images: each one's squared error (k,), and what the tone probe reads (2, 6)."""

    errors: Tensor
    reading: Tensor


class DiffusionRecipe:
    """Training of the denoiser."""

    name = "diffusion"
    whitening = 0.5

    def __init__(self, params: DiffusionParams, resolution: int) -> None:
        self.params = params
        self.resolution = resolution
        self.space = configured_space(params)
        denoiser = denoiser_in(self.space, resolution)
        if params.gradient_checkpointing:
            denoiser.unet.enable_gradient_checkpointing()
        if params.compile:
            compiled(denoiser.unet, "train.diffusion.compile", params.mixed_precision)
        networks = {"denoiser": denoiser}
        if params.guiding:
            networks["guiding"] = denoiser_in(self.space, resolution, GUIDING_WIDTHS, SHALLOW)
        for network in networks.values():
            attend_for_training(network, params.mixed_precision)
        self.learned = tuple(networks)
        self.net = nn.ModuleDict({**networks, params.space: self.space})
        self.exported = (*self.learned, params.space)
        self.schedule: Any = DDPMScheduler(**SCHEDULE)

    def learn_only(self, network: str) -> None:
        """Let only the network of that name learn; the rest stays as it is."""
        self.learned = (network,)

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.net[name].parameters()) for name in self.learned]

    def step(self, context: Step) -> Losses:
        batch = self._noised(context)
        said = self._learn_denoiser(context, batch) if "denoiser" in self.learned else {}
        return {**said, "guiding": self._learn_guiding(context, batch)} if "guiding" in self.learned else said

    def _learn_guiding(self, context: Step, batch: Noised) -> Tensor:
        """Let the guiding network learn from the same images, unjudged, and return its mean squared error."""
        weight, n, seen = self._weight(batch.time), len(batch.time), []

        def share(part: Tensor) -> Tensor:
            errors = self._errors(self._predicted("guiding", context, batch, part), batch, part)
            seen.append(errors.detach())
            return (errors * weight[part]).sum() / n

        place = self.learned.index("guiding")
        parts = in_parts(n, self.params.accumulate, batch.time.device)
        learn(context, "guiding", place, self.parameter_groups()[place], parts, share)
        return torch.cat(seen).mean()

    def _learn_denoiser(self, context: Step, batch: Noised) -> dict[str, Tensor]:
        fairness = self._fairness
        n = len(batch.time)
        parts = in_parts(n, self.params.accumulate, batch.time.device)
        at_once = len(parts) == 1
        # What an image is worth may depend on the whole batch. In parts that takes a pass of its own, without gradients.
        ahead: list[_Outcome] = []
        if at_once or (fairness is not None and fairness.judges_batches):
            with torch.set_grad_enabled(at_once):
                ahead = [self._outcome(context, batch, part) for part in parts]
        weight, slope, kl = self._judged(context, batch, ahead)
        seen: list[Tensor] = []

        def share(part: Tensor) -> Tensor:
            outcome = ahead[0] if at_once else self._outcome(context, batch, part)
            seen.append(outcome.errors.detach())
            loss = (outcome.errors * weight[part]).sum() / n
            return loss if slope is None else loss + (outcome.reading * slope).sum()

        place = self.learned.index("denoiser")
        learn(context, "denoiser", place, self.parameter_groups()[place], parts, share)
        errors = torch.cat(seen)
        if not ahead and fairness is not None:
            fairness.weights(errors, batch.time / TRAIN_STEPS, context)  # all 1, but it keeps the record of strata
        said = {"loss": (errors * weight).mean(), "mse": errors.mean()}
        if fairness is not None and fairness.tone is not None:
            said = {**said, "loss": said["loss"] + fairness.tone.params.weight * kl, "tone_kl": kl}
        return said

    def _noised(self, context: Step) -> Noised:
        """Return the batch with everything that is drawn at random, for all parts of it at once."""
        # Pictures come channels last, and planes made of them keep that order in memory, in which a CPU's group norm takes
        # four to ten times as long.
        clean = self.space.encode(context.pixels).contiguous()
        n = len(clean)
        time = self._times(context.draws, n).to(clean.device)
        noise = context.draws.normal(*clean.shape).to(clean.device)
        p = self.params.dropout
        codes = drop(context.conditions, p.drop_tone, p.drop_lesion, p.drop_both, UNKNOWN_SHARE, context.draws)
        velocity = self.schedule.get_velocity(clean, noise, time)
        return Noised(self.schedule.add_noise(clean, noise, time), velocity, time, codes)

    def _times(self, draws: Draws, n: int) -> Tensor:
        """Return the time steps (n,) of a batch, stratified over it: its loss then depends less on their luck."""
        return (draws.stratified(n) * TRAIN_STEPS).long().clamp_max(TRAIN_STEPS - 1)

    def _outcome(self, context: Step, batch: Noised, part: Tensor) -> _Outcome:
        """Run the network on the images at positions `part`."""
        predicted = self._predicted("denoiser", context, batch, part)
        errors = self._errors(predicted, batch, part)
        fairness = self._fairness
        if fairness is None or fairness.tone is None:
            return _Outcome(errors, errors.new_zeros(()))
        noisy, time = batch.noisy[part], batch.time[part]
        planes, read = self._clean_pictures(noisy, predicted, time, fairness.tone.params.least_snr)
        return _Outcome(errors, fairness.tone.read(planes, context.fst[part][read]))

    def _predicted(self, network: str, context: Step, batch: Noised, part: Tensor) -> Tensor:
        with context.backend.autocast():
            predicted: Tensor = context.wrapped[network](batch.noisy[part], batch.time[part], batch.codes[part])
        return predicted.float()

    def _errors(self, predicted: Tensor, batch: Noised, part: Tensor) -> Tensor:
        """Return each image's squared error (k,), coarse planes counting more."""
        return self._distance(predicted, batch.velocity[part])

    def _distance(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the mean squares (k,) of the differences of planes (k, c, h, w), coarse planes counting more."""
        return ((one - other) ** 2 * self.space.importance()[:, None, None]).mean(dim=(1, 2, 3))

    def _judged(self, context: Step, batch: Noised, ahead: list[_Outcome]) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return each image's loss weight (n,), the derivative of the tone term by its reading, and the KL."""
        weight, fairness = self._weight(batch.time), self._fairness
        nothing = weight.new_zeros(())
        if fairness is None or not ahead:
            return weight, None, nothing
        errors = torch.cat([outcome.errors.detach() for outcome in ahead])
        weight = weight * fairness.weights(errors, batch.time / TRAIN_STEPS, context)
        if fairness.tone is None:
            return weight, None, nothing
        reading = torch.stack([outcome.reading.detach() for outcome in ahead]).sum(dim=0)
        return weight, *fairness.tone.slope(reading, context.draws.world, context.backend)

    @property
    def _fairness(self) -> Fairness | None:
        part = getattr(self.net, "fairness", None)
        return part if isinstance(part, Fairness) else None

    def _clean_pictures(self, noisy: Tensor, velocity: Tensor, time: Tensor, least_snr: float) -> tuple[Tensor, Tensor]:
        """Return the clean pictures (k, 3, r, r) predicted at SNR `least_snr` and above, and which (n,) bool they are.

        x0 = sqrt(alpha) x_t - sqrt(1 - alpha) v: Salimans & Ho (2022), section 4.
        """
        alpha = self.schedule.alphas_cumprod.to(time.device)[time]
        read = alpha >= least_snr * (1 - alpha)
        keep, away = alpha[read].sqrt()[:, None, None, None], (1 - alpha[read]).sqrt()[:, None, None, None]
        srgb = self.space.to_srgb(keep * noisy[read] - away * velocity[read])
        return srgb.permute(0, 3, 1, 2) * 2 - 1, read

    def _weight(self, time: Tensor) -> Tensor:
        """Return min(SNR, gamma) / (SNR + 1): min-SNR weighting in terms of v."""
        alpha = self.schedule.alphas_cumprod.to(time.device)[time]
        snr = alpha / (1 - alpha)
        # At zero terminal SNR min-SNR gives weight 0 to pure noise, where the picture's tone is decided: keep a floor.
        return (snr.clamp_max(MIN_SNR_GAMMA) / (snr + 1)).clamp_min(0.05)

    def config(self) -> dict[str, Any]:
        about = {"generator": self.name, "resolution": self.resolution, "schedule": SCHEDULE, "layers": list(LAYERS)}
        about["guiding_widths"] = list(GUIDING_WIDTHS) if self.params.guiding else None
        return {**about, **space_config(self.params)}


class DiffusionGenerator:
    """A trained denoiser with its sampler."""

    name = "diffusion"

    def __init__(self, folder: Path, sampler: SamplerParams) -> None:
        checkpoint = load_checkpoint(folder, self.name)
        self.resolution: int = checkpoint.config["resolution"]
        self.checkpoint_sha256 = checkpoint.sha256
        widths = checkpoint.config.get("guiding_widths")
        self.settings = sampler.identity(guiding=widths is not None)
        if autoencoder := checkpoint.config.get("autoencoder"):
            self.settings["autoencoder"] = autoencoder["sha256"]
        self.sampler = sampler
        name, self._space = recorded_space(checkpoint.config, folder)
        layers = checkpoint.config.get("layers", SHALLOW)
        networks = {"denoiser": denoiser_in(self._space, self.resolution, layers=layers)}
        if widths is not None:
            networks["guiding"] = denoiser_in(self._space, self.resolution, widths, SHALLOW)
        net = nn.ModuleDict({**networks, name: self._space})
        checkpoint.load_into(net)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._net = net.eval().to(self.device)
        self._velocity = self._predictor("denoiser")
        self._guiding = self._predictor("guiding") if widths is not None else None

    @torch.inference_mode()
    def sample(self, conditions: Sequence[Condition], keys: Sequence[str]) -> NDArray[np.uint8]:
        """Return images; see `Generator.sample`. Up to four network passes a step, by the guidance asked for."""
        side = self.resolution // self._space.reduction
        shape = (self._space.channels, side, side)
        codes = encode(conditions).to(self.device)
        state = draw_planes(self._velocity, SCHEDULE, self.sampler, codes, keys, shape, self._guiding)
        return np.asarray(self._space.decode(state).cpu().numpy())

    def _predictor(self, network: str) -> Predict:
        def predict(state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
            predicted: Tensor = self._net[network](state, time.to(state.device).expand(len(state)), codes)
            return predicted

        return predict
