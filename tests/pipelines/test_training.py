"""The training loop: data order from (seed, step), exact resume after a kill, fair resampling, damage detected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.generators.draws import step_draws
from pipelines.generators.interface import Condition, Losses, Step
from pipelines.generators.registry import entry
from pipelines.generators.stylegan2 import Stylegan2Recipe
from pipelines.train.averages import Averages
from pipelines.train.data import TrainingSet, resampling, training_set, turned
from pipelines.train.loop import Budget, Run, fit
from pipelines.train.state import load_state, stored_steps
from schemas.errors import CheckFailed
from schemas.train_params import DcganParams, DiffusionParams, GanParams, Stylegan2Params
from schemas.words import Lesion, Modality

PARAMS = {
    "diffusion": DiffusionParams(),
    "gan": GanParams(),
    "dcgan": DcganParams(width=8),
    "stylegan2": Stylegan2Params(width=4, ada_images=100, r1_every=2, path_every=2),
}
BUDGET = Budget(
    images=48, batch=8, learning_rate=1e-3, warmup_images=0, ema_length=0.1, log_every=1, save_every_images=16
)


def tiny_set() -> TrainingSet:
    rng = np.random.default_rng(0)
    conditions = [
        Condition(Modality.PHANTOM, 1 + i % 6, list(Lesion)[i % 4], float(rng.uniform(-40, 60))) for i in range(12)
    ]
    return training_set(rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8), conditions, 0.5, "tiny")


def followed(recipe: Any, stop_after: int | None = None) -> Any:
    """Let a recipe note the first step it is asked for, and die at step `stop_after`, as a kill would."""
    inner = recipe.step

    def step(context: Step) -> Losses:
        recipe.began = getattr(recipe, "began", context.number)
        if context.number == stop_after:
            raise KeyboardInterrupt
        result: Losses = inner(context)
        return result

    recipe.step = step
    return recipe


def began(run: Run) -> int:
    """Return the step that a run went on from: training is a function of (seed, step), so one that began anew ends alike."""
    first: int = run.recipe.began  # type: ignore[attr-defined]
    return first


def train(name: str, state: Path, stop_after: int | None = None, budget: Budget = BUDGET) -> Run:
    """Train a tiny run; `stop_after` makes the loop die at that step, as a kill would."""
    torch.manual_seed(3)
    torch.set_num_threads(1)
    recipe = followed(entry(name).recipe(PARAMS[name], 64), stop_after)
    if isinstance(recipe, Stylegan2Recipe):
        recipe.augment.probability.fill_(0.5)  # six steps from 0 would augment nothing
    return fit(
        recipe, tiny_set(), budget, seed=5, key="k", state=state, mixed_precision="no",
        on_log=lambda row: None, on_save=lambda run: None,
    )  # fmt: skip


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("name", list(PARAMS))
def test_a_run_stopped_between_states_ends_with_the_same_weights_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole = train(name, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(name, tmp_path / "cut", stop_after=5)
    resumed = train(name, tmp_path / "cut")
    assert (began(whole), began(resumed)) == (0, 4)
    assert resumed.step == whole.step == 6
    assert same(resumed.recipe.net, whole.recipe.net)
    assert same(resumed.average, whole.average)
    assert resumed.log == whole.log


def test_a_truncated_state_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    whole = train("gan", tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train("gan", tmp_path / "cut", stop_after=5)
    newest = sorted((tmp_path / "cut").glob("*.safetensors"))[-1]
    assert newest.name == "000000004.safetensors"
    newest.write_bytes(newest.read_bytes()[:-10])
    recipe = entry("gan").recipe(PARAMS["gan"], 64)
    optimisers = [torch.optim.AdamW(p) for p in recipe.parameter_groups()]
    parts = {"net": recipe.net, "averages": Averages(recipe.net)}
    assert load_state(tmp_path / "cut", "k", parts, optimisers)[0] == 2
    assert load_state(tmp_path / "cut", "another run", parts, optimisers)[0] == 0
    resumed = train("gan", tmp_path / "cut")
    assert began(resumed) == 2
    assert same(resumed.average, whole.average)


_CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}]
import test_training as t
import pipelines.train.loop as loop
real = loop.save_state
def slow(folder, key, step, *rest):
    real(folder, key, step, *rest)
    print("saved", step, flush=True)
    time.sleep(0.3)
loop.save_state = slow
t.train(sys.argv[2], Path(sys.argv[1]))
"""


@pytest.mark.parametrize("name", ["gan", "stylegan2"])
def test_kill_9_of_a_training_process_loses_nothing(name: str, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(tests=str(Path(__file__).parent)), str(tmp_path / "killed"), name],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline().startswith("saved")
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=30)
    saved = stored_steps(tmp_path / "killed")[-1]
    resumed, whole = train(name, tmp_path / "killed"), train(name, tmp_path / "whole")
    assert began(resumed) == saved >= 2
    assert same(resumed.average, whole.average)
    assert same(resumed.recipe.net, whole.recipe.net)


def test_the_state_of_augmentation_and_path_length_is_carried_over_a_resume(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train("stylegan2", tmp_path, stop_after=5)
    recipe = entry("stylegan2").recipe(PARAMS["stylegan2"], 64)
    optimisers = [torch.optim.AdamW(p) for p in recipe.parameter_groups()]
    parts = {"net": recipe.net, "averages": Averages(recipe.net)}
    assert load_state(tmp_path, "k", parts, optimisers)[0] == 4
    kept = recipe.net.state_dict()
    assert kept["path_length.mean"] > 0
    assert float(kept["augment.probability"]) in (
        pytest.approx(0.5 - 0.32),
        pytest.approx(0.8),
    )  # 4 batches of 8, per 100
    assert kept["augment.counted"].tolist() == [0, 0, 0]


def test_a_loss_that_is_not_finite_stops_the_run_and_says_what_to_change(tmp_path: Path) -> None:
    recipe = entry("gan").recipe(PARAMS["gan"], 64)
    recipe.step = lambda context: {"loss": float("nan")}  # type: ignore[method-assign]
    with pytest.raises(CheckFailed, match=r"not|nan.*lower train\.gan\.learning_rate"):
        fit(
            recipe, tiny_set(), BUDGET, seed=5, key="k", state=tmp_path, mixed_precision="no",
            on_log=lambda row: None, on_save=lambda run: None,
        )  # fmt: skip


def test_resampling_gives_strata_shares_of_n_to_the_one_minus_power() -> None:
    conditions = [Condition(Modality.PHANTOM, 1, Lesion.NEVUS, None)] * 90
    conditions += [Condition(Modality.PHANTOM, 6, Lesion.NEVUS, None)] * 10
    for power, share in ((0.0, 0.1), (0.5, 10**0.5 / (10**0.5 + 90**0.5)), (1.0, 0.5)):
        assert resampling(conditions, power)[90:].sum() == pytest.approx(share)


def test_batches_depend_on_seed_and_step_alone() -> None:
    data = tiny_set()
    assert (data.indices(1, 7, 64) == data.indices(1, 7, 64)).all()
    assert not (data.indices(1, 7, 64) == data.indices(1, 8, 64)).all()


def test_every_pose_is_a_rearrangement_and_all_eight_occur() -> None:
    picture = torch.arange(16 * 3, dtype=torch.uint8).reshape(1, 4, 4, 3).expand(400, -1, -1, -1)
    posed = turned(picture, step_draws(0, 0))
    kinds = Counter(p.numpy().tobytes() for p in posed)
    assert len(kinds) == 8
    assert min(kinds.values()) > 20
    assert all(sorted(np.frombuffer(k, np.uint8)) == list(range(48)) for k in kinds)
