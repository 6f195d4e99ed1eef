"""What a GAN is refused or stopped for, each in one line; and that a GAN in order is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training import PARAMS, tiny_set
from torch import Tensor, nn

from pipelines.generators.interface import Condition
from pipelines.generators.registry import entry
from pipelines.train.data import TrainingSet, training_set
from pipelines.train.loop import Budget, fit
from pipelines.train.run import start_from
from pipelines.train.watch import GRACE, IN_A_ROW, Adversarial, check_conditions, check_stable, diversity_meter
from schemas.errors import CheckFailed, CheckpointError
from schemas.words import Lesion, Modality


def uniform_set(count: int) -> TrainingSet:
    conditions = [Condition(Modality.PHANTOM, 2, Lesion.NEVUS, 45.0)] * count
    return training_set(np.zeros((count, 64, 64, 3), np.uint8), conditions, 0.5, "uniform")


def test_one_image_is_refused() -> None:
    with pytest.raises(CheckFailed) as caught:
        check_conditions("dcgan", uniform_set(1))
    assert str(caught.value) == (
        "train dcgan: 1 image in the train split (phantom/II/nevus); a GAN of one image draws that image, at least 2 are "
        "needed and some hundreds are useful; add a source"
    )


def test_one_stratum_is_refused() -> None:
    with pytest.raises(CheckFailed) as caught:
        check_conditions("stylegan2", uniform_set(9))
    assert str(caught.value) == (
        "train stylegan2: all 9 images of the train split are phantom/II/nevus; a conditional GAN needs at least 2 strata "
        "to tell apart; add a source with another skin type or lesion"
    )
    check_conditions("stylegan2", tiny_set())


@pytest.mark.parametrize("name", ["dcgan", "stylegan2"])
def test_a_base_that_is_not_shipped_is_said_so(name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        start_from(entry(name).recipe(PARAMS[name], 64), tiny_set(), "base")
    assert str(caught.value) == (
        f"train.{name}.start: base, but no base of {name} is shipped; set it to scratch, or make one with "
        f"`python -m pipelines.train.base {name}`"
    )


class OnePicture:
    """A recipe whose samples are `apart` grey levels from each other: 0 is a collapsed GAN."""

    name = "dcgan"
    exported = ("net",)
    whitening = 1.0

    def __init__(self, apart: float) -> None:
        self.net = nn.ModuleDict({"net": nn.Linear(1, 1)})
        self.params = PARAMS["dcgan"]
        self.apart = apart

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.net.parameters())]

    def step(self, context: Any) -> dict[str, float]:
        return {"generator": 1.0}

    def draw(self, net: nn.Module, codes: Tensor, rng: torch.Generator) -> Tensor:
        cells = torch.randn(len(codes), 3, 8, 8, generator=rng) * self.apart
        return (128 + cells.repeat_interleave(8, 2).repeat_interleave(8, 3)).clamp(0, 255).byte().permute(0, 2, 3, 1)

    def config(self) -> dict[str, Any]:
        return {"generator": self.name}


def varied() -> TrainingSet:
    """Two strata of pictures whose 8 px cells differ by some 20 grey levels."""
    cells = np.random.default_rng(0).normal(128, 20, (24, 8, 8, 3)).clip(0, 255).astype(np.uint8)
    pixels = cells.repeat(8, axis=1).repeat(8, axis=2)
    conditions = [Condition(Modality.PHANTOM, 1 + i % 2, Lesion.NEVUS, 45.0) for i in range(24)]
    return training_set(pixels, conditions, 0.5, "varied")


def run(recipe: OnePicture, tmp_path: Path) -> list[dict[str, Any]]:
    budget = Budget(160, 8, 1e-3, 0, 0.1, 1, 10**6)
    return fit(
        recipe, varied(), budget, seed=5, key="k", state=tmp_path, mixed_precision="no",
        on_log=lambda row: None, on_save=lambda run: None,
    ).log  # fmt: skip


def test_a_gan_whose_samples_are_all_alike_is_stopped_after_the_grace(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed) as caught:
        run(OnePicture(0.0), tmp_path)
    step = int(GRACE * 160 / 8) + IN_A_ROW
    assert str(caught.value) == (
        f"train dcgan: diversity 0.000 at step {step}; 0.2 of the real images' is needed (train.dcgan.min_diversity), its "
        "samples of one condition are all alike; lower train.dcgan.learning_rate or use another seed"
    )


def test_diversity_is_a_share_of_the_real_images_distance(tmp_path: Path) -> None:
    log = run(OnePicture(20.0), tmp_path)
    assert log[-1]["diversity"] == pytest.approx(1, abs=0.1)
    assert diversity_meter(OnePicture(10.0), varied(), 1)(nn.Linear(1, 1))["diversity"] == pytest.approx(0.5, abs=0.1)


def test_only_a_gan_is_watched() -> None:
    diffusion = entry("diffusion").recipe(PARAMS["diffusion"], 64)
    assert not isinstance(diffusion, Adversarial)
    assert diversity_meter(diffusion, varied(), 1)(diffusion.net) == {}
    for name in ("dcgan", "stylegan2"):
        recipe = entry(name).recipe(PARAMS[name], 64)
        assert isinstance(recipe, Adversarial)
        readings = [diversity_meter(recipe, varied(), 1)(recipe.net)["diversity"] for _ in range(2)]
        assert readings[0] == readings[1]


def test_scores_that_run_away_stop_the_training() -> None:
    recipe = OnePicture(20.0)
    check_stable(recipe, [{"step": 3, "images": 10**9, "real_score": -99_999.0, "diversity": 1.0}], 10)
    with pytest.raises(CheckFailed) as caught:
        check_stable(recipe, [{"step": 3, "images": 24, "real_score": -2e5, "generator": 1.0}], 100)
    assert str(caught.value) == (
        "train dcgan: real_score -200000 at step 3; losses and scores need to stay within 100000, the training diverges; "
        "lower train.dcgan.learning_rate"
    )
