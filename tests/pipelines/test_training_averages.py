"""Averages with power-function profiles: what they weigh, and that snapshots add up to one of any length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training import began, followed, tiny_set
from test_training_early_stop import Line
from torch import nn

from pipelines.train.averages import TRACKED, Averages, Profile, decay_at, gamma_of, overlap, shares
from pipelines.train.choice import choose_length
from pipelines.train.loop import Budget, Run, averaged, fit
from pipelines.train.snapshots import MOST, Snapshots, reach, snapshot_steps
from schemas.errors import CheckFailed, ParamsError
from schemas.train_params import EmaParams

LENGTHS = st.floats(0.02, 0.27)


def profile_of(step: int, length: float) -> np.ndarray:
    """The weights that the update rule gives to steps 1 to `step`, followed one by one."""
    weights, power = np.zeros(step), gamma_of(length) + 1
    for t in range(1, step + 1):
        weights *= (1 - 1 / t) ** power
        weights[t - 1] += 1 - (1 - 1 / t) ** power
    return weights


@given(LENGTHS)
@settings(deadline=None, max_examples=20)
def test_a_length_is_the_standard_deviation_of_its_profile(length: float) -> None:
    gamma = gamma_of(length)
    tau = np.linspace(0, 1, 200_001)
    density = (gamma + 1) * tau**gamma
    mean = np.trapezoid(density * tau, tau)
    deviation = np.sqrt(np.trapezoid(density * (tau - mean) ** 2, tau))
    assert deviation == pytest.approx(length, rel=1e-3)


def test_the_gammas_of_the_paper() -> None:
    assert gamma_of(0.05) == pytest.approx(16.97, abs=0.01)
    assert gamma_of(0.10) == pytest.approx(6.94, abs=0.01)
    with pytest.raises(ValueError, match=r"length 0\.3 of an average; it needs to be above 0 and below 0\.288"):
        gamma_of(0.3)


@given(LENGTHS)
@settings(deadline=None, max_examples=20)
def test_the_update_rule_follows_the_profile(length: float) -> None:
    steps, gamma = 400, gamma_of(length)
    edges = (np.arange(steps + 1) / steps) ** (gamma + 1)  # the profile's integral
    assert profile_of(steps, length) == pytest.approx(np.diff(edges), abs=1e-9)
    assert profile_of(steps, length).sum() == pytest.approx(1)
    assert [decay_at(t, length) for t in (1, 7)] == pytest.approx([0, (6 / 7) ** (gamma + 1)])


@given(st.integers(1, 500), st.integers(1, 500), LENGTHS, LENGTHS)
@settings(deadline=None, max_examples=50)
def test_the_overlap_is_the_integral_of_the_product(t_a: int, t_b: int, l_a: float, l_b: float) -> None:
    a, b = Profile(t_a, l_a), Profile(t_b, l_b)
    tau = np.linspace(0, min(t_a, t_b), 50_001)
    product = [(p.gamma + 1) / p.step * (tau / p.step) ** p.gamma for p in (a, b)]
    assert overlap(a, b) == overlap(b, a) == pytest.approx(np.trapezoid(product[0] * product[1], tau), rel=2e-2)


def test_snapshots_add_up_to_the_average_of_another_length() -> None:
    taken = [Profile(s, length) for s in range(25, 401, 25) for length in TRACKED]
    for length in (0.04, 0.07, 0.15, 0.2):
        share, error = shares(Profile(400, length), taken)
        made = sum(
            w * np.pad(profile_of(p.step, p.length), (0, 400 - p.step)) for w, p in zip(share, taken, strict=True)
        )
        true = profile_of(400, length)
        assert error < 0.06
        assert np.linalg.norm(made - true) / np.linalg.norm(true) == pytest.approx(error, abs=0.02)
        assert share.sum() == pytest.approx(1, abs=0.02)


def test_a_snapshot_of_the_very_average_is_taken_alone_and_none_of_the_future() -> None:
    taken = [Profile(s, length) for s in (100, 200, 300) for length in TRACKED]
    share, error = shares(Profile(200, 0.1), taken)
    assert error == 0
    assert share.tolist() == [0, 0, 0, 1, 0, 0]
    assert shares(Profile(200, 0.08), taken)[0][4:].tolist() == [0, 0]
    assert shares(Profile(50, 0.1), taken)[1] == 1
    assert reach(0.2, [400], 400) > reach(0.2, [100, 200, 300, 400], 400)


def run_line(folder: Path, length: float, die_at: int | None = None) -> Run:
    torch.manual_seed(3)

    def saved(run: Run) -> None:
        if run.step == die_at:
            raise KeyboardInterrupt

    budget = Budget(1600, 8, 1e-2, 0, length, 10, 200)
    return fit(
        followed(Line()), tiny_set(), budget, seed=5, key="k", state=folder, mixed_precision="no",
        on_log=lambda row: None, on_save=saved,
    )  # fmt: skip


def test_the_average_put_together_is_the_one_that_would_have_been_kept(tmp_path: Path) -> None:
    history: list[torch.Tensor] = []
    inner = Averages.update

    def watched(self: Averages, net: nn.Module, step: int) -> None:
        history.append(net.get_submodule("layer").weight.detach().double().clone())
        inner(self, net, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Averages, "update", watched)
        run = run_line(tmp_path, 0.15)
    true = sum(w * h for w, h in zip(profile_of(200, 0.15), history, strict=True))
    layer = run.average.get_submodule("layer")
    spread = float((history[-1] - history[0]).abs().max())
    assert float((layer.weight.double() - true).abs().max()) < 0.02 * spread
    assert run.records["average"] == [{"length": 0.15, "step": 200, "profile_error": pytest.approx(0, abs=0.05)}]
    averaged(run, 0.05)  # another one afterwards, of the same run
    assert torch.equal(layer.weight, run.averages.tracked[0].get_submodule("layer").weight)


def test_a_killed_run_puts_the_same_average_together_bit_for_bit(tmp_path: Path) -> None:
    whole = run_line(tmp_path / "whole", 0.15)
    with pytest.raises(KeyboardInterrupt):
        run_line(tmp_path / "cut", 0.15, die_at=125)
    resumed = run_line(tmp_path / "cut", 0.15)
    assert began(resumed) == 100
    assert torch.equal(resumed.average.get_submodule("layer").weight, whole.average.get_submodule("layer").weight)


def test_damaged_and_foreign_snapshots_are_passed_over(tmp_path: Path) -> None:
    averages = Averages(Line().net)
    mine, other = (Snapshots(tmp_path, key, ("layer",)) for key in ("mine", "other"))
    for step in (10, 20, 30):
        mine.take(averages, step)
    other.take(averages, 20)
    damaged = tmp_path / "000000010.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert mine.steps(30) == [30]
    assert mine.steps(25) == []
    with pytest.raises(CheckFailed) as refused:
        mine.put_together(0.02, 30, Line().net)
    assert str(refused.value) == (
        "an average of length 0.02 at step 30: 1 snapshots make its profile up to 0.34; at most 0.1 is allowed; "
        "use a longer one or save states more often (sheet_every_images)"
    )


def test_a_length_out_of_reach_stops_before_any_step(tmp_path: Path) -> None:
    with pytest.raises(
        ParamsError, match=r"train\.line\.ema\.length: 0\.01; 8 snapshots make its profile up to 0\.\d\d"
    ):
        run_line(tmp_path, 0.01)
    assert not list(tmp_path.iterdir())


def test_long_runs_keep_some_states_snapshots_only_and_always_the_last() -> None:
    assert snapshot_steps(100, 30, judged=False) == [30, 60, 90, 100]
    assert snapshot_steps(100, 50, judged=False) == [50, 100]
    assert snapshot_steps(10, 50, judged=False) == [10]
    many = snapshot_steps(10_000, 10, judged=False)
    assert len(many) <= MOST + 1
    assert many[-1] == 10_000
    assert len(snapshot_steps(10_000, 10, judged=True)) == 1000


class Scores:
    """An observer that prefers one length."""

    def __init__(self, best: float) -> None:
        self.best = best

    def kid_of(self, run: Run) -> dict[str, float]:
        length = run.records["average"][0]["length"]
        return {"phantom/I/nevus": 0.01, "phantom/VI/nevus": 0.2 + abs(length - self.best)}


def test_the_length_with_the_best_worst_group_is_chosen_afterwards(tmp_path: Path) -> None:
    run = run_line(tmp_path, 0.1)
    choose_length(run, (0.01, 0.05, 0.15), Scores(0.15))  # type: ignore[arg-type]
    assert run.records["average"][0]["length"] == 0.15
    assert run.records["lengths"] == [
        {"length": 0.01, "worst_kid": None, "worst_group": None},
        {"length": 0.05, "worst_kid": pytest.approx(0.3), "worst_group": "phantom/VI/nevus"},
        {"length": 0.15, "worst_kid": pytest.approx(0.2), "worst_group": "phantom/VI/nevus"},
    ]


def test_lengths_that_no_profile_has_are_refused_in_params() -> None:
    with pytest.raises(ValueError, match=r"length 0\.29; a profile's standard deviation is between 0\.01 and 0\.28"):
        EmaParams(length=0.29)
    with pytest.raises(ValueError, match=r"length 0; "):
        EmaParams(candidates=(0.0, 0.1))
