"""What a GPU does differently, on a GPU: nothing that anybody would notice but the time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import BUDGET, began, followed, tiny_set

from pipelines.generators.discriminative import DiscriminativeRecipe
from pipelines.generators.draws import Draws
from pipelines.generators.interface import Condition, Generator
from pipelines.generators.registry import BASE, entry, load_generator
from pipelines.train.base_discriminative import both
from pipelines.train.data import training_set, turned
from pipelines.train.fairness import attach_fairness
from pipelines.train.loop import Run, fit
from schemas.params import SamplerParams
from schemas.train_params import DiffusionParams, TrainParams
from schemas.words import Lesion, Modality

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
    pytest.mark.usefixtures("any_precision"),
]

CONDITIONS = [
    Condition(Modality.PHANTOM, fst, lesion, ita)
    for fst, ita in ((1, 60.0), (3, 35.0), (6, -40.0))
    for lesion in (Lesion.NEVUS, Lesion.SEBORRHOEIC_KERATOSIS)
]
KEYS = [f"{i:024x}" for i in range(1, 7)]


def drawn(monkeypatch: pytest.MonkeyPatch, *, on_gpu: bool, sampler: SamplerParams) -> tuple[Generator, np.ndarray]:
    with monkeypatch.context() as patch:
        if not on_gpu:
            patch.setattr(torch.cuda, "is_available", lambda: False)
        generator = load_generator(BASE / "diffusion", sampler)
    return generator, generator.sample(CONDITIONS, KEYS)


def test_an_image_is_the_same_on_gpu_and_cpu_up_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = SamplerParams()
    gpu, there = drawn(monkeypatch, on_gpu=True, sampler=sampler)
    cpu, here = drawn(monkeypatch, on_gpu=False, sampler=sampler)
    assert (gpu.device.type, cpu.device.type) == ("cuda", "cpu")  # type: ignore[attr-defined]
    difference = np.abs(there.astype(int) - here.astype(int))
    assert difference.max() <= 8
    assert difference.mean() < 0.5


def trained(name: str, state: Path, precision: str, stop_after: int | None = None) -> Run:
    torch.manual_seed(3)
    data = tiny_set()
    own = getattr(TrainParams(), name)
    if isinstance(own, DiffusionParams):
        own = own.model_copy(update={"mixed_precision": precision})
    recipe = entry(name).recipe(own, 64)
    if isinstance(own, DiffusionParams):
        recipe.space.fit(data.pixels, recipe.whitening)
        attach_fairness(recipe, own.fairness, data, data, 0)
    return fit(
        followed(recipe, stop_after), data, BUDGET, seed=5, key="k", state=state, mixed_precision=precision,
        on_log=lambda row: None, on_save=lambda run: None,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["diffusion", "gan", "dcgan", "stylegan2"])
def test_every_generator_trains_there_and_learns(name: str, tmp_path: Path) -> None:
    run = trained(name, tmp_path, "no")
    assert {p.device.type for p in run.recipe.net.parameters()} == {"cuda"}
    assert all(np.isfinite(value) for row in run.log for value in row.values())
    if name == "diffusion":
        assert run.log[-1]["loss"] < run.log[0]["loss"]


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_stopped_diffusion_run_goes_on_with_the_same_draws(precision: str, tmp_path: Path) -> None:
    whole = trained("diffusion", tmp_path / "whole", precision)
    with pytest.raises(KeyboardInterrupt):
        trained("diffusion", tmp_path / "stopped", precision, stop_after=5)
    resumed = trained("diffusion", tmp_path / "stopped", precision)
    assert began(resumed) == 4
    first, last = ([row["loss"] for row in run.log] for run in (whole, resumed))
    assert last == pytest.approx(first, rel=1e-2), "sums on a GPU may differ in their order, draws do not"


def test_pictures_are_turned_there_as_here() -> None:
    class Fixed(Draws):
        def below(self, limit: int, n: int) -> torch.Tensor:
            return torch.arange(n) % limit

    pixels = torch.arange(16 * 8 * 8 * 3).reshape(16, 8, 8, 3).to(torch.uint8)
    draws = Fixed(torch.Generator())
    assert torch.equal(turned(pixels.cuda(), draws).cpu(), turned(pixels, draws))


def test_a_discriminative_round_runs_there(tmp_path: Path) -> None:
    real = tiny_set()
    grey = np.full(tuple(real.pixels.shape), 128, np.uint8)
    data = both(real, training_set(grey, real.conditions, 0.0, "grey"), dict.fromkeys(real.strata, 1.0))
    recipe = DiscriminativeRecipe(DiffusionParams(mixed_precision="bf16"), 64, len(data.strata) // 2)
    recipe.space.fit(data.pixels, recipe.whitening)
    recipe.hold()
    run = fit(
        recipe, data, BUDGET, seed=5, key="k", state=tmp_path, mixed_precision="bf16",
        on_log=lambda row: None, on_save=lambda run: None,
    )  # fmt: skip
    assert run.log[-1]["real"] > run.log[-1]["own"]
