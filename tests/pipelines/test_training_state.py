"""Whose states lie in a folder: another run's stay until this one has its own, and what does not fit is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_training import began, followed, same, tiny_set
from test_training_early_stop import BUDGET, Line
from torch import nn

from pipelines.train.averages import Averages
from pipelines.train.loop import Run, fit
from pipelines.train.snapshots import Snapshots
from pipelines.train.state import load_state, save_state, stored_steps


def line_run(state: Path, key: str, stop_after: int | None = None, save_every: int = 16, width: int = 4) -> Run:
    """Train eight steps of a layer; `stop_after` makes the loop die at that step, as a kill would."""
    torch.manual_seed(3)
    line = Line()
    if width != 4:
        line.net["layer"] = nn.Linear(4, width)
    return fit(
        followed(line, stop_after), tiny_set(), replace(BUDGET, save_every_images=save_every), seed=5, key=key, state=state,
        mixed_precision="no", on_log=lambda row: None, on_save=lambda run: None,
    )  # fmt: skip


def saved(folder: Path, key: str, *steps: int) -> Line:
    line = Line()
    for step in steps:
        save_state(folder, key, step, {"net": line.net}, [], {"log": [{"step": step}]})
    return line


def test_a_state_outlives_those_of_another_run_with_higher_steps(tmp_path: Path) -> None:
    saved(tmp_path, "A", 4, 6)
    line = saved(tmp_path, "B", 2)
    assert load_state(tmp_path, "B", {"net": line.net}, []) == (2, {"log": [{"step": 2}]})
    assert stored_steps(tmp_path) == [2], "the other run's are of no use any more"
    saved(tmp_path, "B", 4, 6, 8)
    assert stored_steps(tmp_path) == [6, 8]


def test_a_state_outlives_damaged_ones_of_later_steps(tmp_path: Path) -> None:
    line = saved(tmp_path, "A", 4, 6)
    for step in (4, 6):
        (tmp_path / f"{step:09d}.safetensors").write_bytes(b"")
    saved(tmp_path, "A", 2)
    assert load_state(tmp_path, "A", {"net": line.net}, [])[0] == 2


def test_a_changed_training_that_is_killed_goes_on_from_its_own_state(tmp_path: Path) -> None:
    whole = line_run(tmp_path / "whole", "B")
    with pytest.raises(KeyboardInterrupt):
        line_run(tmp_path / "cut", "A", stop_after=7)
    assert stored_steps(tmp_path / "cut") == [4, 6]
    with pytest.raises(KeyboardInterrupt):
        line_run(tmp_path / "cut", "B", stop_after=1)
    assert stored_steps(tmp_path / "cut") == [4, 6], "nothing of its own yet: the other one can still be gone on with"
    with pytest.raises(KeyboardInterrupt):
        line_run(tmp_path / "cut", "B", stop_after=3)
    assert Snapshots(tmp_path / "cut" / "averages", "A", ("layer",)).steps(8) == []
    assert stored_steps(tmp_path / "cut" / "averages") == [2]
    resumed = line_run(tmp_path / "cut", "B")
    assert began(resumed) == 2
    assert same(resumed.average, whole.average)


def test_a_state_that_does_not_fit_the_network_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        line_run(tmp_path, "k", stop_after=5)
    wider = line_run(tmp_path, "k", width=6)
    assert began(wider) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith(
        f"{tmp_path}: the state after step 4 does not fit this version's network (first: averages.tracked.0.layer.bias); needs"
    )
    assert wider.average.get_submodule("layer").weight.shape == (6, 4)


def test_a_state_of_other_optimisers_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        line_run(tmp_path, "k", stop_after=5)
    line = Line()
    parts: dict[str, nn.Module] = {"net": line.net, "averages": Averages(line.net)}
    one = torch.optim.AdamW(line.net.parameters())
    assert load_state(tmp_path, "k", parts, [one])[0] == 4
    for others in ([], [torch.optim.AdamW([line.net["layer"].weight])]):
        assert load_state(tmp_path, "k", parts, others, says=False) == (0, {})
