"""When a run stops before its budget: no better worst group, or no variety; and what it then keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training import began, followed, same, tiny_set
from torch import nn

from pipelines.generators.interface import Condition, Step
from pipelines.train.data import training_set
from pipelines.train.early_stop import Seen, Watch
from pipelines.train.judge import Judge, judged_groups
from pipelines.train.loop import Budget, Run, fit
from pipelines.train.sheets import sheet_conditions
from pipelines.train.variety import variety
from schemas.errors import CheckFailed, ParamsError
from schemas.train_params import WatchParams
from schemas.training import LookRow
from schemas.words import Lesion, Modality

BUDGET = Budget(
    images=64, batch=8, learning_rate=1e-3, warmup_images=0, ema_length=0.1, log_every=1, save_every_images=8
)
WORST = {8: 0.9, 16: 0.5, 24: 0.6, 32: 0.7, 40: 0.1}
"""KID of the worst group by images seen: best at 16; a patience of 2 ends the run at 32, before 40 would be better."""


class Line:
    """The smallest recipe: one layer that learns noise. Training it takes no time, and its state is a state."""

    name, whitening, exported = "line", 1.0, ("layer",)

    def __init__(self) -> None:
        self.net = nn.ModuleDict({"layer": nn.Linear(4, 4)})

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.net.parameters())]

    def step(self, context: Step) -> dict[str, float]:
        loss = context.wrapped["layer"](context.draws.normal(8, 4)).square().mean()
        context.backend.backward(loss)
        context.optimisers[0].step()
        context.optimisers[0].zero_grad(set_to_none=True)
        return {"loss": float(loss.detach())}

    def config(self) -> dict[str, Any]:
        return {"generator": self.name}


def watched(state: Path, patience: int, die_at: int | None = None) -> Run:
    """Train a layer whose looks see `WORST`; `die_at` makes the look after so many images die, as a kill would."""
    torch.manual_seed(3)

    def saved(run: Run) -> Seen:
        if run.images == die_at:
            raise KeyboardInterrupt
        return Seen(1.0, {"phantom/I/nevus": 0.05, "phantom/VI/nevus": WORST.get(run.images, 1.0)})

    return fit(
        followed(Line()), tiny_set(), BUDGET, seed=5, key="k", state=state, mixed_precision="no",
        on_log=lambda row: None, on_save=saved, watch=WatchParams(patience=patience),
    )  # fmt: skip


def test_a_run_ends_when_its_worst_group_gets_no_better_and_keeps_the_best_weights(tmp_path: Path) -> None:
    run = watched(tmp_path / "early", 2)
    assert run.images == 32
    assert run.records["watch"] == [{"stopped_early": True, "best_worst_kid": pytest.approx(0.5), "best_images": 16}]
    rows = [LookRow.model_validate(row) for row in run.records["looks"]]
    assert [r.images for r in rows if r.group == "phantom/VI/nevus"] == [8, 16, 24, 32]
    patient = watched(tmp_path / "patient", 3)
    assert patient.images == 64
    assert patient.records["watch"][0]["best_images"] == 40
    assert not same(run.average, patient.average)


@pytest.mark.parametrize("die_at", [16, 24, 32])
def test_a_killed_run_stops_where_it_would_have_stopped_with_the_same_weights(die_at: int, tmp_path: Path) -> None:
    whole = watched(tmp_path / "whole", 2)
    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path / "cut", 2, die_at)
    resumed = watched(tmp_path / "cut", 2)
    assert began(resumed) == die_at // 8 - 1  # a state each step, the last one not yet when the look died
    assert resumed.images == whole.images == 32
    assert same(resumed.average, whole.average)
    assert resumed.records == whole.records
    again = watched(tmp_path / "cut", 2)  # its last state says that it has ended
    assert again.images == 32
    assert not hasattr(again.recipe, "began")
    assert same(again.average, whole.average)


def test_without_patience_nothing_is_kept_and_nothing_stops(tmp_path: Path) -> None:
    run = watched(tmp_path, 0)
    assert run.images == 64
    assert run.records["watch"] == [{"stopped_early": False, "best_worst_kid": None, "best_images": None}]
    assert run.records["average"][0]["step"] == 8


def test_two_looks_without_variety_are_a_collapse_and_one_is_not() -> None:
    watch = Watch("gan", WatchParams(least_diversity=0.1), 8000)
    for seen in (0.05, 0.01):
        watch.look(Seen(seen), 100, 2400)  # young: a share of 0.3 of the run is no verdict yet
    for seen in (0.05, 0.5, 0.09):
        watch.look(Seen(seen), 125, 3000)
    with pytest.raises(CheckFailed) as stopped:
        watch.look(Seen(0.02), 500, 4000)
    assert str(stopped.value) == (
        "train gan: after 4,000 images the samples of a cell vary 0.020 times as much as real ones, twice running; at least "
        "0.1 is needed (collapse); lower train.gan.learning_rate, train longer, or lower train.gan.watch.least_diversity"
    )


def gan_as_it_comes(
    state: Path, diversity: list[float], stop_after: int | None = None
) -> tuple[Run, list[tuple[int, int]]]:
    """Train a layer for as many steps as a build's GAN; its looks see these values in turn, the last one ever after."""
    torch.manual_seed(3)
    looks: list[tuple[int, int]] = []

    def saved(run: Run) -> Seen:
        looks.append((run.step, run.turn))
        return Seen(diversity[min(len(looks), len(diversity)) - 1])

    budget = Budget(3600, 48, 1e-3, 0, 0.1, 10, 2000, (0.0, 0.99))  # params.yaml: 75 steps, one state
    run = fit(
        followed(Line(), stop_after), tiny_set(), budget, seed=5, key="k", state=state, mixed_precision="no",
        on_log=lambda row: None, on_save=saved,
    )  # fmt: skip
    return run, looks


def test_a_short_run_that_draws_one_picture_does_not_end_well(tmp_path: Path) -> None:
    with pytest.raises(
        CheckFailed, match=r"train line: after 3,600 images the samples of a cell vary 0\.000 times as much"
    ):
        gan_as_it_comes(tmp_path / "flat", [0.0])
    with pytest.raises(CheckFailed, match="after 3,600 images"):
        gan_as_it_comes(tmp_path / "at the end", [0.9, 0.0, 0.0])  # on two sets of seeds
    run, looks = gan_as_it_comes(tmp_path / "chance", [0.1, 0.9])
    assert looks == [(41, 0), (75, 0)]
    assert run.ended
    run, looks = gan_as_it_comes(tmp_path / "unlucky", [0.9, 0.0, 0.9])
    assert looks == [(41, 0), (75, 0), (75, 1)]
    assert [row["value"] for row in run.records["looks"]] == [0.9, 0.0, 0.9]


def test_a_short_run_that_was_killed_meets_its_collapse_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        gan_as_it_comes(tmp_path, [0.0], stop_after=60)
    with pytest.raises(CheckFailed, match="after 3,600 images"):
        gan_as_it_comes(tmp_path, [0.1])


def test_the_second_look_at_the_end_asks_for_variety_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    seen = iter([Seen(1.0, {"a": 0.3})] * 7 + [Seen(0.0, {"a": 0.2}), Seen(1.0, {"a": 0.2})])
    run = fit(
        Line(), tiny_set(), BUDGET, seed=5, key="k", state=tmp_path, mixed_precision="no",
        on_log=lambda row: None, on_save=lambda run: next(seen), watch=WatchParams(patience=9),
    )  # fmt: skip
    assert run.records["watch"] == [{"stopped_early": False, "best_worst_kid": pytest.approx(0.2), "best_images": 64}]
    assert [row["measure"] for row in run.records["looks"][-3:]] == ["kid", "diversity", "diversity"]


def test_diversity_is_one_for_real_pictures_and_zero_for_one_picture_a_condition() -> None:
    data = tiny_set()
    rng = np.random.default_rng(1)
    cells = len(sheet_conditions(data))
    noise = rng.integers(0, 256, (2 * cells, 64, 64, 3), dtype=np.uint8)
    twice = data.__class__(**{**data.__dict__, "groups": torch.arange(12) // 2, "strata": data.strata[:6]})
    assert variety(noise, twice) == pytest.approx(1, abs=0.1)
    assert variety(np.repeat(noise[::2], 2, axis=0), twice) == 0
    flat = np.full_like(noise, 90)
    flat[1::2] = 160
    assert variety(flat, twice) == 0  # another tone is no variety
    assert variety(noise, tiny_set()) is None  # twelve strata of one image: nothing to compare with


def people(fst: int, lesion: Lesion, n: int) -> list[Condition]:
    return [Condition(Modality.PHANTOM, fst, lesion, 20.0)] * n


def test_small_strata_are_judged_together_by_skin_type_and_smaller_ones_not() -> None:
    conditions = people(1, Lesion.NEVUS, 8) + people(1, Lesion.MELANOMA, 3) + people(6, Lesion.NEVUS, 3)
    conditions += people(6, Lesion.MELANOMA, 3)
    held_out = training_set(np.zeros((17, 64, 64, 3), np.uint8), conditions, 0.0, "v")
    groups = judged_groups(held_out, 6)
    assert {name: len(places) for name, places in groups.items()} == {
        "phantom/I/nevus": 8,
        "phantom/VI/other lesions": 6,
    }
    with pytest.raises(ParamsError, match=r"watch\.patience: 3, but no group has 12 validation images"):
        Judge(held_out, WatchParams(patience=3, least_real=12), lambda: pytest.fail("no features are needed to refuse"))
    with pytest.raises(ParamsError) as refused:
        Judge(None, WatchParams(least_real=12), lambda: pytest.fail("no features are needed to refuse"))
    assert str(refused.value) == (
        "train.*.ema.length: auto, but no group has 12 validation images to judge by; raise stratify.split.validation, "
        "lower watch.least_real or set length to a number"
    )


class MeanColour:
    """Features that are a picture's mean colour: enough to order sets by."""

    name, dim = "mean-colour", 3

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels.mean(axis=(1, 2)) / 255).astype(np.float32)


class Painter:
    """A generator that draws every picture in one grey."""

    name, resolution, checkpoint_sha256, settings = "painter", 64, "0" * 64, {}

    def __init__(self, grey: int) -> None:
        self.grey = grey

    def sample(self, conditions: object, keys: list[str]) -> np.ndarray:
        return np.full((len(keys), 64, 64, 3), self.grey, np.uint8)


def test_the_judge_finds_the_group_that_is_drawn_wrong() -> None:
    conditions = people(1, Lesion.NEVUS, 6) + people(6, Lesion.NEVUS, 6)
    pixels = np.concatenate([np.full((6, 64, 64, 3), g, np.uint8) for g in (200, 60)])
    judge = Judge(
        training_set(pixels, conditions, 0.0, "v"), WatchParams(patience=1, images=4, least_real=6), MeanColour
    )
    kid = judge(Painter(200))
    assert kid["phantom/I/nevus"] == pytest.approx(0, abs=1e-6)
    assert kid["phantom/VI/nevus"] > 0.1
