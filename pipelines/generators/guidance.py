"""Sampling of the diffusion generators: DPM-Solver++ with noise from each image's key, and two guidance scales.

Sources: DPM-Solver++ 2M as ODE or SDE, Lu et al. (2022); separate guidance scales, Brooks et al. (2023), on an interval,
Kynkaanniemi et al. (2024). We differ in guiding tone and lesion, and in drawing the SDE's noise, too, from the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from pipelines.generators.conditioning import without_lesion, without_tone
from pipelines.generators.interface import key_noise
from schemas.params import SamplerParams

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A network: planes (n, c, h, w), one time step and condition codes (n, 4) to v or noise (n, c, h, w)."""


def draw_planes(
    predict: Predict, schedule: Mapping[str, Any], sampler: SamplerParams, codes: Tensor, keys: Sequence[str],
    shape: tuple[int, ...],
) -> Tensor:  # fmt: skip
    """Return planes (n, *shape) drawn for condition codes (n, 4) from the noise of `keys`, on the codes' device.

    Args:
        schedule: options of diffusers' schedulers, as the network was trained.
    """
    algorithm = "sde-dpmsolver++" if sampler.stochastic else "dpmsolver++"
    solver: Any = DPMSolverMultistepScheduler(**schedule, algorithm_type=algorithm, solver_order=2)
    solver.set_timesteps(sampler.steps)
    noise = key_noise(keys, (1 + sampler.steps if sampler.stochastic else 1, *shape)).to(codes.device)
    state = noise[:, 0] * solver.init_noise_sigma
    guided_steps = round(sampler.steps * sampler.guidance_until)
    for number, time in enumerate(solver.timesteps):
        predicted = (
            guided(predict, sampler, state, time, codes) if number < guided_steps else predict(state, time, codes)
        )
        fresh = noise[:, 1 + number] if sampler.stochastic else None
        state = solver.step(predicted, time, state, variance_noise=fresh).prev_sample
    return state


def guided(predict: Predict, sampler: SamplerParams, state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
    """Return v_null + g_tone (v_tone - v_null) + g_lesion (v_full - v_tone), leaving out passes that cancel."""
    tone, lesion = sampler.guidance_tone, sampler.guidance_lesion
    skin_only = without_lesion(codes)
    weighted = [(lesion, codes), (tone - lesion, skin_only), (1 - tone, without_tone(skin_only))]
    active = [(w, c) for w, c in weighted if abs(w) > 1e-9]
    states = state.repeat(len(active), 1, 1, 1)
    stacked = predict(states, time, torch.cat([c for _, c in active])).chunk(len(active))
    return torch.stack([w * v for (w, _), v in zip(active, stacked, strict=True)]).sum(dim=0)
