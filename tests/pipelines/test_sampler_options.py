"""Solvers, guidance on an interval, reused guidance and precision, on networks whose answer is known and on the base."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UniPCMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_diffusers import recipe_on, saved, tiny_stable_diffusion
from torch import Tensor

from pipelines.generators.conditioning import encode, without_lesion
from pipelines.generators.diffusion import SCHEDULE, DiffusionGenerator
from pipelines.generators.guidance import draw_planes, guided, noise_times, solver_of
from pipelines.generators.interface import Condition, key_noise
from pipelines.generators.registry import BASE, load_generator
from pipelines.imaging.tone import measure_ita
from schemas.params import SamplerParams
from schemas.words import Lesion, Modality

UNIPC = {"solver": "unipc", "stochastic": False}
ODE = {"stochastic": False}
SHAPE = (24, 16, 16)
MEAN, SPREAD = 0.7, 0.5


def keys(n: int) -> list[str]:
    return [hashlib.sha256(f"option {i}".encode()).hexdigest()[:24] for i in range(n)]


def asked(ita_deg: float, fst: int, n: int = 4) -> list[Condition]:
    return [Condition(Modality.PHANTOM, fst, (Lesion.NEVUS, Lesion.MELANOMA)[i % 2], ita_deg) for i in range(n)]


def gaussian_velocity(state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
    """The exact v where clean planes are normal of MEAN and SPREAD: E[x0 | x] and E[noise | x] in closed form."""
    alpha = solver_of(SCHEDULE, SamplerParams()).alphas_cumprod.double()[int(time)]
    away = state.double() - alpha.sqrt() * MEAN
    total = alpha * SPREAD**2 + 1 - alpha
    clean, noise = MEAN + alpha.sqrt() * SPREAD**2 / total * away, (1 - alpha).sqrt() / total * away
    return (alpha.sqrt() * noise - (1 - alpha).sqrt() * clean).to(state.dtype)


class Recorder:
    """A network that answers with what its lesion code and step say, and notes how wide each pass was."""

    def __init__(self, by_step: float) -> None:
        self.widths: list[int] = []
        self.casts: list[bool] = []
        self.by_step = by_step

    def __call__(self, state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        self.widths.append(len(state))
        self.casts.append(torch.is_autocast_enabled("cpu"))
        return 0.1 * state + codes[:, 3, None, None, None] * (1 + self.by_step * len(self.widths))


def drawn(network: Any, n: int = 2, **options: Any) -> Tensor:
    sampler = SamplerParams(**options)
    return draw_planes(network, SCHEDULE, sampler, encode(asked(30.0, 3, n)), keys(n), (2, 4, 4))


@pytest.mark.parametrize("options", [UNIPC, ODE])
def test_the_solvers_reach_the_ode_s_exact_solution(options: dict[str, Any]) -> None:
    # For normal planes the probability flow keeps each value's distance from the mean in standard deviations, and at zero
    # terminal SNR that is the noise itself: the solution is MEAN + SPREAD x noise.
    exact = MEAN + SPREAD * key_noise(keys(2), (1, 2, 4, 4))[:, 0]
    errors = [
        float((drawn(gaussian_velocity, guidance_lesion=1, steps=n, spacing="uniform", **options) - exact).abs().max())
        for n in (6, 12, 24, 48)
    ]
    assert max(errors[2:]) < errors[1] < errors[0]
    assert max(errors[2:]) < 0.01


def test_unipc_is_diffusers_own_loop_with_the_same_network() -> None:
    sampler = SamplerParams(steps=5, spacing="uniform", guidance_lesion=2.0, guidance_until=1.0, **UNIPC)
    generator = DiffusionGenerator(BASE / "diffusion", sampler)
    codes = encode(asked(20.0, 4, 2))
    scheduler: Any = UniPCMultistepScheduler(**SCHEDULE, solver_order=2)
    scheduler.set_timesteps(5)
    with torch.inference_mode():
        state = key_noise(keys(2), (1, *SHAPE))[:, 0]
        for time in scheduler.timesteps:
            # as diffusers' pipelines guide: one doubled batch, halves combined
            without, with_ = generator._velocity(
                state.repeat(2, 1, 1, 1), time, torch.cat([without_lesion(codes), codes])
            ).chunk(2)
            state = scheduler.step(without + 2.0 * (with_ - without), time, state).prev_sample
        ours = draw_planes(generator._velocity, SCHEDULE, sampler, codes, keys(2), SHAPE)
    assert torch.allclose(ours, state, atol=1e-3)


@pytest.mark.parametrize("options", [UNIPC, {**UNIPC, "guidance_every": 2}, {"precision": "bfloat16"}])
def test_an_image_is_the_same_in_any_batch_and_another_with_another_key(options: dict[str, Any]) -> None:
    generator = load_generator(BASE / "diffusion", SamplerParams(steps=4, **options))
    conditions = asked(-40.0, 6, 3)
    together = generator.sample(conditions, keys(3)).astype(int)
    alone = generator.sample(conditions[1:2], keys(3)[1:2]).astype(int)[0]
    assert np.abs(together[1] - alone).max() <= 1
    assert (generator.sample(conditions[1:2], keys(3)[2:]).astype(int)[0] != alone).any()
    again = generator.sample(conditions, keys(3))
    assert np.array_equal(together, again)


@pytest.mark.parametrize("options", [UNIPC, ODE, {"precision": "bfloat16"}])
def test_dark_skin_stays_dark_and_light_skin_light(options: dict[str, Any]) -> None:
    # Without zero terminal SNR both drift to mid-grey (Lin et al. 2024); with it a sigma is infinite, where a solver may fail
    generator = DiffusionGenerator(BASE / "diffusion", SamplerParams(steps=8, **options))
    planes = draw_planes(
        generator._velocity, SCHEDULE, generator.sampler, encode(asked(-45.0, 6)), keys(4), SHAPE
    ).detach()
    assert torch.isfinite(planes).all()
    for ita_deg, fst in ((-45.0, 6), (62.0, 1)):
        found = [measure_ita(image).deg for image in generator.sample(asked(ita_deg, fst), keys(4))]
        assert all(deg is not None and abs(deg - ita_deg) < 12 for deg in found), found


def test_unipc_draws_by_stable_diffusion_too(tmp_path: Path) -> None:
    folder = saved(recipe_on(tiny_stable_diffusion(tmp_path / "base")), tmp_path / "model")
    generator = load_generator(folder, SamplerParams(steps=4, **UNIPC))
    assert generator.settings["solver"] == "unipc"
    together = generator.sample(asked(10.0, 4), keys(4))
    alone = generator.sample(asked(10.0, 4)[:1], keys(1))[0]
    assert np.abs(together[0].astype(int) - alone).max() <= 1
    other = load_generator(folder, SamplerParams(steps=4, **ODE)).sample(asked(10.0, 4), keys(4))
    assert (other != together).any()
    assert np.abs(other.astype(int) - together).mean() < 8, "two solvers of one equation"


def test_guidance_is_on_its_interval_alone() -> None:
    network = Recorder(0.0)
    drawn(network, steps=10, guidance_lesion=1.5, guidance_from=0.2, guidance_until=0.6)
    assert network.widths == [2, 2, 4, 4, 4, 4, 2, 2, 2, 2]
    empty = Recorder(0.0)
    drawn(empty, steps=10, guidance_lesion=1.5, guidance_from=0.6, guidance_until=0.6)
    assert empty.widths == [2] * 10


def test_guidance_is_computed_every_kth_guided_step_and_afresh_in_every_drawing() -> None:
    network = Recorder(0.0)
    for _ in range(2):
        drawn(network, steps=10, guidance_lesion=1.5, guidance_from=0.1, guidance_until=0.8, guidance_every=3)
    assert network.widths == [2, 4, 2, 2, 4, 2, 2, 4, 2, 2] * 2


def test_reused_guidance_is_exact_where_it_does_not_change_and_differs_where_it_does() -> None:
    options = {"steps": 8, "spacing": "karras", "guidance_lesion": 3.0, "guidance_tone": 1.5}
    assert torch.allclose(drawn(Recorder(0.0), guidance_every=4, **options), drawn(Recorder(0.0), **options), atol=1e-4)
    assert not torch.allclose(
        drawn(Recorder(0.1), guidance_every=4, **options), drawn(Recorder(0.1), **options), atol=0.1
    )


def test_guidance_to_no_lesion_can_be_reused_too() -> None:
    # guidance_lesion 0 leaves out the pass that reuse needs: it has to come back
    every, each = (drawn(Recorder(0.0), steps=6, guidance_lesion=0.0, guidance_every=k) for k in (2, 1))
    assert torch.allclose(every, each, atol=1e-4)


def test_the_difference_that_is_kept_is_guidance_less_the_plain_prediction() -> None:
    from pipelines.generators.guidance import plain_and_difference

    sampler, network = SamplerParams(guidance_tone=1.7, guidance_lesion=2.5), Recorder(0.0)
    codes, state = encode(asked(10.0, 4, 2)), torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    plain, difference = plain_and_difference(network, sampler, state, torch.tensor(5), codes)
    assert torch.equal(plain, network(state, torch.tensor(5), codes))
    assert torch.allclose(plain + difference, guided(network, sampler, state, torch.tensor(5), codes), atol=1e-4)


def test_bfloat16_is_for_the_network_alone_and_off_by_default() -> None:
    network = Recorder(0.0)
    assert drawn(network, steps=3, precision="bfloat16").dtype == torch.float32
    assert network.casts == [True] * 3
    plain = Recorder(0.0)
    drawn(plain, steps=3)
    assert plain.casts == [False] * 3
    images = {
        precision: load_generator(BASE / "diffusion", SamplerParams(steps=6, precision=precision)).sample(
            asked(0.0, 5, 3), keys(3)
        ).astype(int)
        for precision in ("float32", "bfloat16")
    }  # fmt: skip
    difference = np.abs(images["float32"] - images["bfloat16"])
    assert 0 < difference.mean() < 3


def test_steps_spaced_in_noise_begin_with_noise_alone_and_are_as_even_as_the_schedule_allows() -> None:
    solver = solver_of(SCHEDULE, SamplerParams())
    times = noise_times(solver.alphas_cumprod, 18, 70, 0.05, "karras")
    assert times[0] == len(solver.alphas_cumprod) - 1
    sigma = ((1 - solver.alphas_cumprod) / solver.alphas_cumprod).sqrt()[times]
    assert float(sigma[1]) == pytest.approx(70, rel=0.1)
    assert float(sigma[-1]) == pytest.approx(0.05, rel=0.1)
    gaps = -(sigma[1:] ** (1 / 7)).diff()
    assert gaps.max() / gaps.min() < 1.6
    # what a picture is filled with is decided between SNR 0.0002 and 0.02, where even steps in time leave a gap
    assert ((sigma > 7) & (sigma < 71)).sum() >= 6
    narrow = noise_times(solver.alphas_cumprod, 18, 25, 0.1, "karras")
    sigma = ((1 - solver.alphas_cumprod) / solver.alphas_cumprod).sqrt()[narrow]
    assert float(sigma[1]) == pytest.approx(25, rel=0.1)
    assert float(sigma[-1]) == pytest.approx(0.1, rel=0.1)


def test_steps_even_in_the_logarithm_of_noise_are_more_where_hairs_are_decided() -> None:
    solver = solver_of(SCHEDULE, SamplerParams())
    sigma = ((1 - solver.alphas_cumprod) / solver.alphas_cumprod).sqrt()
    spaced = {name: sigma[noise_times(solver.alphas_cumprod, 14, 70, 0.1, name)] for name in ("karras", "log_snr")}  # type: ignore[arg-type]
    gaps = -spaced["log_snr"][1:].log().diff()
    assert gaps.max() / gaps.min() < 1.2
    assert float(spaced["log_snr"][1]) == pytest.approx(70, rel=0.1)
    assert float(spaced["log_snr"][-1]) == pytest.approx(0.1, rel=0.1)
    within = {name: int(((s > 0.25) & (s < 5)).sum()) for name, s in spaced.items()}
    assert within == {"karras": 4, "log_snr": 6}


@given(
    steps=st.integers(1, 1000), zero=st.booleans(), span=st.sampled_from([(70, 0.05), (25, 0.1), (1, 0.9)]),
    spacing=st.sampled_from(["karras", "log_snr"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_spaced_steps_are_as_many_as_asked_and_fall(
    steps: int, zero: bool, span: tuple[float, float], spacing: Literal["karras", "log_snr"]
) -> None:
    schedule: Any = DDPMScheduler(**{**SCHEDULE, "rescale_betas_zero_snr": zero})
    times = noise_times(schedule.alphas_cumprod, steps, *span, spacing)
    assert len(times) == steps
    assert (times.diff() < 0).all()
    assert times.min() >= 0


def test_a_schedule_that_ends_below_the_span_wastes_no_step_on_its_noisy_end() -> None:
    schedule: Any = DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    )  # Stable Diffusion's
    sigma = ((1 - schedule.alphas_cumprod) / schedule.alphas_cumprod).sqrt()
    times = noise_times(schedule.alphas_cumprod, 12, 70, 0.05, "karras")
    assert times[0] == len(sigma) - 1
    gaps = -(sigma[times] ** (1 / 7)).diff()
    assert gaps.max() / gaps.min() < 1.05


@pytest.mark.parametrize("spacing", ["karras", "log_snr"])
@pytest.mark.parametrize("options", [UNIPC, ODE])
def test_spaced_steps_reach_the_ode_s_exact_solution_too(options: dict[str, Any], spacing: str) -> None:
    exact = MEAN + SPREAD * key_noise(keys(2), (1, 2, 4, 4))[:, 0]
    found = drawn(gaussian_velocity, guidance_lesion=1, steps=24, spacing=spacing, **options)
    assert float((found - exact).abs().max()) < 0.03
