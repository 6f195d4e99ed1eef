"""A denoiser that learns what tells its own pictures from real ones, and from then on draws fewer of them.

Source: Zheng et al. (2025), "Direct Discriminative Optimization: Your Likelihood-Based Visual Generative Model Is Secretly a
GAN Discriminator". The network and a frozen copy of what it was before are together a discriminator: the log of the ratio
of the likelihoods that both give a picture, positive where the network thinks it likelier. It is trained as one, by the
logistic loss, on real pictures and on pictures the copy drew; the ratio is replaced by the margin of the two denoising
errors at one noise level, times a constant. No second network is trained, and sampling stays as it is.

We differ: of the groups told to it the network is only to predict what the copy does (as in learning without forgetting,
Li & Hoiem 2016), so that what is drawn well already is not given away for the rest; own pictures are drawn with the
guidance that production draws with, so that its faults are unlearned too; some of the time steps are drawn as EDM's sampler
spaces its own, in sigma^(1/7), more of which are loud than of even ones; the error's weight (min-SNR) has a higher floor, or
what decides rims and hairs, at loud noise, would not count.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.generators.denoiser import attend_for_training
from pipelines.generators.diffusion import TRAIN_STEPS, DiffusionRecipe, Noised
from pipelines.generators.draws import Draws
from pipelines.generators.guidance import RHO
from pipelines.generators.interface import Losses, Step
from pipelines.generators.parts import in_parts, learn
from schemas.params import SamplerParams
from schemas.train_params import DiffusionParams

SHARPNESS: Final = 0.05
"""What a margin is multiplied by before the logistic function (beta in the paper)."""

AS_SAMPLED: Final = 0.4
"""Share of the time steps that are spaced as EDM's sampler spaces its own, up to `LOUDEST`."""

LOUDEST: Final = 12.0
"""Sigma. Above it little but the tone is decided, which few pictures teach badly: it swung by two degrees from round to round."""

LEAST_WEIGHT: Final = 0.15
"""Of an error, at any noise level: min-SNR gives the loudest 0.05, the quietest less than that."""


class DiscriminativeRecipe(DiffusionRecipe):
    """Training of a denoiser against a frozen copy of itself. The guiding network stays as it is.

    A batch holds real pictures and own ones, told apart by `Step.groups`.
    """

    def __init__(self, params: DiffusionParams, resolution: int, own_from: int, stay: Collection[int] = ()) -> None:
        """Build the networks; `hold` fixes the copy once the denoiser has its weights.

        Args:
            own_from: the first group of pictures that the denoiser drew itself; those below are real.
            stay: groups whose predictions are to stay the copy's.
        """
        super().__init__(params, resolution)
        self.own_from = own_from
        self._stay = torch.tensor(sorted(stay), dtype=torch.long)
        self.learn_only("denoiser")
        self._before: nn.Module | None = None

    def hold(self) -> None:
        """Take the denoiser as it is for the frozen copy that it is measured against."""
        self._before = copy.deepcopy(self.net["denoiser"]).requires_grad_(False)
        attend_for_training(self._before, self.params.mixed_precision)  # type: ignore[arg-type]

    def step(self, context: Step) -> Losses:
        """Do one step on real and own pictures; the losses say how much likelier both have become, and how far predictions
        that were to stay have moved.

        Raises:
            RuntimeError: nothing was held.
        """
        if self._before is None:
            raise RuntimeError("a discriminative step without a frozen copy; call hold() once the weights are there")
        self._before.to(context.pixels.device)
        batch = self._noised(context)
        own = context.groups >= self.own_from
        stay = torch.isin(context.groups, self._stay.to(context.groups.device))
        side = torch.where(own, -1.0, 1.0)
        n, seen = len(side), []

        def share(part: Tensor) -> Tensor:
            margin, moved = self._against_the_copy(context, batch, part)
            seen.append(torch.stack([margin, moved]).detach())
            return _loss(side[part], margin, moved, stay[part]).sum() / n

        parts = in_parts(n, self.params.accumulate, batch.time.device)
        learn(context, "denoiser", 0, self.parameter_groups()[0], parts, share)
        margin, moved = torch.cat(seen, dim=1)
        loss = _loss(side, margin, moved, stay).mean()
        return {
            "loss": loss, "real": _mean(margin, ~own & ~stay), "own": _mean(margin, own & ~stay),
            "moved": _mean(moved, stay),
        }  # fmt: skip

    def _against_the_copy(self, context: Step, batch: Noised, part: Tensor) -> tuple[Tensor, Tensor]:
        """Return how much likelier (k,) the network finds the pictures at `part` than the copy does, and how far (k,) its
        predictions are from the copy's.

        The first is the sum over the planes of the copy's weighted squared errors less the network's: in nats but for a factor
        that the noise schedule has and `SHARPNESS` takes up. The second is the same sum of the squared difference of both.
        """
        predicted = self._predicted("denoiser", context, batch, part)
        assert self._before is not None
        with torch.no_grad(), context.backend.autocast():
            before = self._before(batch.noisy[part], batch.time[part], batch.codes[part]).float()
        scale = batch.noisy[0].numel() * self._weight(batch.time)[part]
        errors, errors_before = (self._errors(p, batch, part) for p in (predicted, before))
        return scale * (errors_before - errors), scale * self._distance(predicted, before)

    def _times(self, draws: Draws, n: int) -> Tensor:
        even = super()._times(draws, n)
        low, high = (s ** (1 / RHO) for s in (SamplerParams().sigma_min, LOUDEST))
        sigma = (low + (high - low) * draws.stratified(n)) ** RHO
        alpha = self.schedule.alphas_cumprod.to(sigma.device)
        spaced = torch.searchsorted(((1 - alpha) / alpha).sqrt(), sigma).clamp_max(TRAIN_STEPS - 1)
        return torch.where(draws.uniform(n) < AS_SAMPLED, spaced, even)

    def _weight(self, time: Tensor) -> Tensor:
        return super()._weight(time).clamp_min(LEAST_WEIGHT)


def _loss(side: Tensor, margin: Tensor, moved: Tensor, stay: Tensor) -> Tensor:
    return torch.where(stay, moved, F.softplus(-SHARPNESS * side * margin) / SHARPNESS)


def _mean(values: Tensor, of: Tensor) -> Tensor:
    """Return the mean of some values, 0 of none; a boolean index would wait for a GPU."""
    return (values * of).sum() / of.sum().clamp_min(1)
