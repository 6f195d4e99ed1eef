"""Fairness in training: weights that follow hard strata, a tone term that pulls, and each of them off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_training import BUDGET, began, followed, same

from pipelines.generators.fairness import GroupWeights, ToneTerm, mean_one
from pipelines.generators.interface import Condition
from pipelines.generators.registry import entry
from pipelines.phantoms.scene import ITA_DRAWN_DEG, render
from pipelines.probes.tone import as_planes, fit_tone_probe, mean_readings, recall_by_fst
from pipelines.train.data import TrainingSet, training_set
from pipelines.train.fairness import attach_fairness, worst_stratum
from pipelines.train.loop import Run, accelerated, fit
from pipelines.train.state import stored_steps
from schemas.train_params import DiffusionParams, FairnessParams, GroupWeightParams, ToneTermParams
from schemas.words import FST_RANGE, Lesion, Modality

OFF = FairnessParams.model_validate({"group_weights": {"use": False}, "tone": {"weight": 0}})
ON = FairnessParams.model_validate(
    {"group_weights": {"use": True, "rate": 0.2}, "tone": {"weight": 1, "least_recall": 0}}
)


def phantoms(each: int, start: int = 0, types: tuple[int, ...] = tuple(FST_RANGE)) -> TrainingSet:
    """Return `each` phantoms of every type, two lesions in turn."""
    pixels, conditions = [], []
    for fst in types:
        for i in range(each):
            rng = np.random.default_rng([fst, start + i])
            ita, lesion = float(rng.uniform(*ITA_DRAWN_DEG[fst])), (Lesion.NEVUS, Lesion.MELANOMA)[i % 2]
            pixels.append(render(rng, lesion, ita, 0.02, 64)[0])
            conditions.append(Condition(Modality.PHANTOM, fst, lesion, ita))
    return training_set(np.stack(pixels), conditions, 0.5, f"phantoms {each} {start}", 5.0)


@pytest.fixture(scope="module")
def people() -> TrainingSet:
    return phantoms(20)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=60), st.floats(1, 20))
def test_weights_have_mean_one_and_stay_in_the_clamp(values: list[float], clamp: float) -> None:
    weights = mean_one(torch.tensor(values), clamp)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-3)
    assert float(weights.min()) >= 1 / clamp - 1e-5
    assert float(weights.max()) <= clamp + 1e-5
    order = torch.tensor(values).argsort()
    assert bool((weights[order].diff() >= -1e-6).all())


def feed(groups: GroupWeights, steps: int, hard: int, present: list[int]) -> None:
    """Show `steps` batches in which one stratum's loss is 1.5 times the others' and noisy levels cost ten times more."""
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        strata = torch.tensor(present).repeat(8)
        noise = torch.rand(len(strata), generator=rng)
        losses = (
            (1 + 9 * (noise > 0.5)) * (1 + 0.5 * (strata == hard)) * (1 + 0.2 * torch.rand(len(strata), generator=rng))
        )
        groups(losses, strata, noise, accelerated("no"))


def test_a_planted_hard_stratum_gains_weight_at_every_noise_level_and_an_absent_one_is_carried_forward() -> None:
    groups = GroupWeights(5, GroupWeightParams(use=True, rate=0.05, clamp=2.5))
    feed(groups, 30, hard=2, present=[0, 1, 2, 3])
    assert bool((groups.weight[2] > 1.3).all())
    assert bool((groups.weight[[0, 1, 3]] < 1).all())
    assert groups.weight[:4].mean() == pytest.approx(1, abs=1e-4)
    assert bool((groups.weight[4] == 1).all())  # never seen
    assert int(groups.by_group().argmax()) == 2
    before = groups.weight.clone()
    feed(groups, 5, hard=2, present=[0, 1, 3])
    ratio = groups.weight[2] / before[2]
    assert bool((ratio > 0.9).all())  # only the common factor that keeps the mean at 1 moved it
    assert float(groups.weight.max()) <= 2.5 + 1e-5


def test_switched_off_it_still_says_which_stratum_is_worst() -> None:
    groups = GroupWeights(3, GroupWeightParams(use=False))
    feed(groups, 5, hard=1, present=[0, 1, 2])
    assert bool((groups.weight == 1).all())
    assert int(groups.by_group().argmax()) == 1


def test_the_tone_probe_reads_phantoms_it_has_not_seen(people: TrainingSet) -> None:
    probe = fit_tone_probe(people.pixels, people.fst, 3)
    held_out = phantoms(12, 500)
    recall = recall_by_fst(probe, held_out.pixels, held_out.fst)
    assert set(recall) == set(FST_RANGE)
    assert np.mean([share for _, share in recall.values()]) > 0.8
    again = fit_tone_probe(people.pixels, people.fst, 3)
    assert torch.equal(probe.outer, again.outer)
    assert not list(probe.parameters())


def test_a_probe_never_reads_a_type_it_has_not_seen() -> None:
    some = phantoms(6, types=(1, 6))
    read = fit_tone_probe(some.pixels, some.fst, 0)(as_planes(some.pixels))
    assert float(read[:, 1:5].sum()) == 0
    with pytest.raises(ValueError, match="fewer than two"):
        fit_tone_probe(some.pixels[:6], some.fst[:6], 0)


@pytest.mark.parametrize("target", ["batch", "equal"])
def test_the_kl_is_near_zero_on_real_pictures_and_its_gradient_moves_tone_to_the_target(
    people: TrainingSet, target: str
) -> None:
    probe = fit_tone_probe(people.pixels, people.fst, 3)
    params = ToneTermParams.model_validate({"target": target})
    term = ToneTerm(probe, mean_readings(probe, people.pixels, people.fst), params)
    backend = accelerated("no")
    real = as_planes(people.pixels)
    assert float(term(term.read(real, people.fst), 1, backend)[1]) < 1e-4
    # All that was asked for, drawn too light: FST I everywhere.
    light = real[people.fst == 1].repeat(6, 1, 1, 1).requires_grad_(True)
    before, _ = term(term.read(light, people.fst), 1, backend)
    assert float(before) > 0.5
    (gradient,) = torch.autograd.grad(before, light)
    moved = (light - 0.5 * gradient / gradient.abs().max()).detach()
    after = term(term.read(moved, people.fst), 1, backend)[1]
    assert float(after) < float(before)
    assert float(moved.mean()) < float(light.mean())  # darker


def test_images_of_unknown_type_are_not_read(people: TrainingSet) -> None:
    probe = fit_tone_probe(people.pixels, people.fst, 3)
    term = ToneTerm(probe, mean_readings(probe, people.pixels, people.fst), ToneTermParams())
    nobody = torch.zeros(4, dtype=torch.int64)
    planes = as_planes(people.pixels[:4]).requires_grad_(True)
    shared, kl = term(term.read(planes, nobody), 1, accelerated("no"))
    assert float(kl) == 0
    assert float(torch.autograd.grad(shared, planes)[0].abs().max()) == 0


def train(state: Path, fairness: FairnessParams | None, stop_after: int | None = None) -> Run:
    """Train six tiny steps; `stop_after` makes the loop die at that step, as a kill would."""
    torch.set_num_threads(1)
    data = phantoms(4)
    torch.manual_seed(3)
    recipe = entry("diffusion").recipe(DiffusionParams(), 64)
    if fairness is not None:
        attach_fairness(recipe, fairness, data, phantoms(2, 500), 3)
    return fit(
        followed(recipe, stop_after), data, BUDGET, seed=5, key="k", state=state, mixed_precision="no",
        on_log=lambda row: None, on_save=lambda run: None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with everything on that nothing interrupted."""
    return train(tmp_path_factory.mktemp("whole"), ON)


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with everything off."""
    return train(tmp_path_factory.mktemp("off"), OFF)


def test_all_off_is_a_training_without_them_bit_for_bit(off: Run, tmp_path: Path) -> None:
    without = train(tmp_path / "without", None)
    assert same(without.recipe.net.denoiser, off.recipe.net.denoiser)
    assert without.log == off.log
    assert not without.strata
    assert {row["weight"] for row in off.strata} == {1.0}


@pytest.mark.parametrize("part", ["group_weights", "tone"])
def test_each_part_alone_moves_the_weights(part: str, off: Run, tmp_path: Path) -> None:
    on = train(tmp_path / "on", OFF.model_copy(update={part: getattr(ON, part)}))
    assert not same(off.recipe.net.denoiser, on.recipe.net.denoiser)
    assert ("tone_kl" in on.log[0]) is (part == "tone")


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_run_with_all_on_goes_on_bit_for_bit_from_any_step(stop_after: int, whole: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", ON, stop_after)
    resumed = train(tmp_path / "cut", ON)
    assert began(resumed) == stop_after // 2 * 2  # a state every other step
    assert same(resumed.recipe.net, whole.recipe.net)  # weights, group weights and probe
    assert same(resumed.average, whole.average)
    assert resumed.records == whole.records
    assert len({row["weight"] for row in whole.strata}) > 3


_CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}]
import test_training_fairness as t
import pipelines.train.loop as loop
real = loop.save_state
def slow(folder, key, step, *rest):
    real(folder, key, step, *rest)
    print("saved", step, flush=True)
    time.sleep(0.3)
loop.save_state = slow
t.train(Path(sys.argv[1]), t.ON)
"""


def test_kill_9_loses_nothing_with_all_on(whole: Run, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(tests=str(Path(__file__).parent)), str(tmp_path / "killed")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline().startswith("saved")
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=30)
    saved = stored_steps(tmp_path / "killed")[-1]
    killed = train(tmp_path / "killed", ON)
    assert began(killed) == saved >= 2
    assert same(killed.recipe.net, whole.recipe.net)
    assert same(killed.average, whole.average)


_RANKS = """
import sys, torch
sys.path[:0] = [{tests!r}]
import test_training_fairness as t
from accelerate import PartialState
run = t.train(__import__("pathlib").Path(sys.argv[1]) / "state", t.ON)
state = {{"net": dict(run.recipe.net.state_dict()), "log": [r["loss"] for r in run.log]}}
torch.save(state, f"{{sys.argv[1]}}/{{PartialState().process_index}}.pt")
"""


def test_two_processes_hold_equal_state_and_learn_what_one_does(whole: Run, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(_RANKS.format(tests=str(Path(__file__).parent)), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path)], check=True, env=env, timeout=240, capture_output=True)
    left, right = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(left["net"][k], right["net"][k]) for k in left["net"])
    assert left["log"] == pytest.approx([r["loss"] for r in whole.log], rel=2e-3)
    both, one = left["net"]["fairness.groups.weight"], whole.recipe.net.fairness.groups.weight
    assert float((both - one).abs().max()) < 1e-3
    assert torch.equal(left["net"]["fairness.groups.seen"], whole.recipe.net.fairness.groups.seen)


def test_without_a_probe_that_can_read_the_tone_term_is_left_out_and_says_why(people: TrainingSet) -> None:
    recipe = entry("diffusion").recipe(DiffusionParams(), 64)
    mixed = phantoms(4, 900)
    mixed.pixels[:] = mixed.pixels[torch.randperm(len(mixed.pixels), generator=torch.Generator().manual_seed(1))]
    report = attach_fairness(recipe, FairnessParams(), people, mixed, 3)
    assert not report.used
    assert "mean recall is 0." in report.why
    assert recipe.net.fairness.tone is None
    assert attach_fairness(recipe, FairnessParams(), people, None, 3).why == (
        "no labelled validation image to judge its probe on"
    )
    assert worst_stratum(recipe.net, people.strata) == {}
    assert "fairness" not in recipe.exported
