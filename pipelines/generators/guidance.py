"""Sampling of the diffusion generators: a solver with noise from each image's key, and two guidance scales.

Sources: DPM-Solver++ 2M as ODE or SDE, Lu et al. (2022); UniPC of order 2 with B(h) = exp(h) - 1, Zhao et al. (2023);
separate guidance scales, Brooks et al. (2023), on an interval, Kynkaanniemi et al. (2024); autoguidance, away from a weaker
network given the same conditions, Karras et al. (2024), "Guiding a Diffusion Model with a Bad Version of Itself"; reuse of
the guidance, as the CFG-Cache of Lv et al. (2024, FasterCache) reuses the difference of conditional and unconditional
output between steps; steps spaced in noise, Karras et al. (2022, EDM) and Lu et al. (2022). We differ in guiding tone and
lesion, in drawing the SDE's noise, too, from the key, in an interval in steps, not in noise levels, in spacing steps below an
infinite first sigma, in reusing the weighted sum of both differences as it is, where FasterCache weighs its frequencies by
time, and in a guiding network that is smaller but, in a build, learns as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log10
from typing import Any, Final, Literal

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from pipelines.generators.conditioning import without_lesion, without_tone
from pipelines.generators.interface import key_noise
from schemas.params import SamplerParams

RHO: Final = 7.0

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A network: planes (n, c, h, w), one time step and condition codes (n, 4) to v or noise (n, c, h, w)."""


def draw_planes(
    predict: Predict, schedule: Mapping[str, Any], sampler: SamplerParams, codes: Tensor, keys: Sequence[str],
    shape: tuple[int, ...], guiding: Predict | None = None,
) -> Tensor:  # fmt: skip
    """Return planes (n, *shape) drawn for condition codes (n, 4) from the noise of `keys`, on the codes' device.

    Args:
        schedule: options of diffusers' schedulers, as the network was trained.
        guiding: the checkpoint's guiding network, if it has one.
    """
    solver = solver_of(schedule, sampler)
    set_times(solver, sampler)
    noise = key_noise(keys, (1 + sampler.steps if sampler.stochastic else 1, *shape)).to(codes.device)
    state = noise[:, 0] * solver.init_noise_sigma
    weaker = in_precision(guiding, sampler) if guiding is not None else None
    guide = Guide(in_precision(predict, sampler), sampler, codes, weaker)
    for number, time in enumerate(solver.timesteps):
        predicted = guide(number, state, time)
        fresh = {"variance_noise": noise[:, 1 + number]} if sampler.stochastic else {}
        state = solver.step(predicted, time, state, **fresh).prev_sample
    return state


def solver_of(schedule: Mapping[str, Any], sampler: SamplerParams) -> Any:
    """Return a new diffusers scheduler of order 2 for the sampler; it lives through one drawing."""
    if sampler.solver == "unipc":
        return UniPCMultistepScheduler(**schedule, solver_order=2, solver_type="bh2")
    algorithm = "sde-dpmsolver++" if sampler.stochastic else "dpmsolver++"
    return DPMSolverMultistepScheduler(**schedule, algorithm_type=algorithm, solver_order=2)


def set_times(solver: Any, sampler: SamplerParams) -> None:
    """Set the steps of a diffusers scheduler: evenly in time or, but for the first, by how loud the noise is."""
    solver.set_timesteps(sampler.steps)
    if sampler.spacing != "uniform":
        times = noise_times(solver.alphas_cumprod, sampler.steps, sampler.sigma_max, sampler.sigma_min, sampler.spacing)
        alpha = solver.alphas_cumprod[times]
        # diffusers' own spacings of these kinds would spend half of 12 steps above any noise that matters.
        solver.timesteps = times
        solver.sigmas = torch.cat([((1 - alpha) / alpha).sqrt(), torch.zeros(1)])


def noise_times(
    alphas: Tensor, steps: int, noisiest: float, cleanest: float, spacing: Literal["karras", "log_snr"]
) -> Tensor:
    """Return int64 time steps (steps,), falling, spaced by sigma = sqrt((1 - alpha) / alpha).

    karras: evenly in sigma^(1/7) (EDM, equation 5); log_snr: evenly in its logarithm (Lu et al. 2022, DPM-Solver).

    A schedule that ends noisier than `noisiest`, as at zero terminal SNR, begins with its last time step, which is noise
    alone.

    Args:
        alphas: the schedule's cumulative products (T,), falling.
        noisiest: greatest sigma, but for that first step; as far as the schedule has it.
        cleanest: least sigma, likewise.
    """
    known = ((1 - alphas.double()) / alphas.double()).sqrt()
    last = len(known) - 1
    times = [last] if float(known[-1]) > noisiest else []
    noisiest, cleanest = (min(max(s, float(known[0])), float(known[-1])) for s in (noisiest, cleanest))
    if spacing == "karras":
        ends = noisiest ** (1 / RHO), cleanest ** (1 / RHO)
        wanted = torch.linspace(ends[0], ends[1], steps - len(times), dtype=torch.float64) ** RHO
    else:
        wanted = torch.logspace(log10(noisiest), log10(cleanest), steps - len(times), dtype=torch.float64)
    for time in (known.log()[:, None] - wanted.log()).abs().argmin(dim=0).tolist():
        # Each below the one before, and leaving room for those to come.
        before = times[-1] if times else last + 1
        times.append(max(min(time, before - 1), steps - len(times) - 1))
    return torch.tensor(times)


def in_precision(predict: Predict, sampler: SamplerParams) -> Predict:
    """Return the network in the sampler's precision; the solver's own state stays float32.

    In bfloat16 matrix products and convolutions are rounded to 8 bits of mantissa and the rest is not (torch's autocast),
    so an image is the same in another batch up to that rounding only.
    """
    if sampler.precision == "float32":
        return predict

    def rounded(state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        with torch.autocast(state.device.type, torch.bfloat16):
            return predict(state, time, codes).float()

    return rounded


class Guide:
    """The guided prediction at each step of one drawing, and the guidance that is reused between steps.

    Guided are the steps from round(steps x guidance_from) to before round(steps x guidance_until). On every
    `guidance_every`-th of them, the first included, the difference to the unguided prediction is computed; on the others
    it is added as it was: one network pass instead of two or three. Autoguidance is computed at every step.
    """

    def __init__(self, predict: Predict, sampler: SamplerParams, codes: Tensor, guiding: Predict | None = None) -> None:
        self._predict, self._sampler, self._codes = predict, sampler, codes
        first, end = (round(sampler.steps * share) for share in (sampler.guidance_from, sampler.guidance_until))
        self._guided = range(first, end)
        self._difference: Tensor | None = None
        self._guiding = guiding if sampler.autoguidance > 1 else None

    def __call__(self, number: int, state: Tensor, time: Tensor) -> Tensor:
        """Return v or noise (n, c, h, w) at step `number` (from 0) for planes of that shape."""
        if self._guiding is None and number in self._guided and self._sampler.guidance_every == 1:
            # The same sum in the order it always had: images made before are made again bit for bit.
            return guided(self._predict, self._sampler, state, time, self._codes)
        plain, difference = self._plain_and_difference(number, state, time)
        if self._guiding is not None:
            away = plain - self._guiding(state, time, self._codes)
            plain = plain + (self._sampler.autoguidance - 1) * away
        return plain if difference is None else plain + difference

    def _plain_and_difference(self, number: int, state: Tensor, time: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the network's own prediction, and what the guidance of tone and lesion adds to it, if anything."""
        if number not in self._guided:
            return self._predict(state, time, self._codes), None
        reused = (number - self._guided.start) % self._sampler.guidance_every > 0
        if reused and self._difference is not None:
            return self._predict(state, time, self._codes), self._difference
        plain, self._difference = plain_and_difference(self._predict, self._sampler, state, time, self._codes)
        return plain, self._difference


def guided(predict: Predict, sampler: SamplerParams, state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
    """Return v_null + g_tone (v_tone - v_null) + g_lesion (v_full - v_tone), leaving out passes that cancel."""
    return _weighted(_passes(predict, _weights(sampler, codes), state, time))


def plain_and_difference(
    predict: Predict, sampler: SamplerParams, state: Tensor, time: Tensor, codes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the unguided prediction v_full, and what guidance adds to it: `guided` less v_full."""
    (weight, full), *others = _weights(sampler, codes)
    plain, *rest = _passes(predict, [(1.0, full), *others], state, time)
    return plain[1], _weighted([(weight - 1, plain[1]), *rest])


Weighted = list[tuple[float, Tensor]]


def _weights(sampler: SamplerParams, codes: Tensor) -> Weighted:
    """Return the weights of v_full, v_tone and v_null and the codes they are predicted for."""
    tone, lesion = sampler.guidance_tone, sampler.guidance_lesion
    skin_only = without_lesion(codes)
    return [(lesion, codes), (tone - lesion, skin_only), (1 - tone, without_tone(skin_only))]


def _passes(predict: Predict, weighted: Weighted, state: Tensor, time: Tensor) -> Weighted:
    """Return the weights that are not 0 with what the network predicts, all in one pass."""
    active = [(w, c) for w, c in weighted if abs(w) > 1e-9]
    states = state.repeat(len(active), 1, 1, 1)
    stacked = predict(states, time, torch.cat([c for _, c in active])).chunk(len(active))
    return [(w, v) for (w, _), v in zip(active, stacked, strict=True)]


def _weighted(predicted: Weighted) -> Tensor:
    return torch.stack([w * v for w, v in predicted]).sum(dim=0)
