"""One training over two processes (gloo on loopback): what one process would have made, up to the order of a sum."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from miniature import run_ingest
from safetensors.torch import load_file

from pipelines.dedupe.find import find_duplicates
from pipelines.stratify.strata import stratify
from pipelines.train.launch import launch_command, train_launched
from schemas.errors import ParamsError
from schemas.params import Params, load_params
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.train_params import TrainParams
from schemas.training import STRATUM_LOSSES, StratumLossRow

TOLERANCE = 2e-3
"""Largest difference of a loss after six steps: float32 sums in another order, and Adam's division of small numbers."""


def prepared(folder: Path, batch: int = 8, **train: Any) -> tuple[Workspace, Params]:
    """Return a workspace of 40 phantoms up to stratify, with a training of six steps."""
    short = {
        "images": 48,
        "batch": batch,
        "start": "scratch",
        "log_every": 1,
        "warmup_images": 0,
        "mixed_precision": "no",
        "watch": {"least_diversity": 0},
    }
    settings = {
        "sources": {"use": {"phantom": {"adapter": "phantom", "count": 40}}},
        "train": {"diffusion": short, **train},
    }
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    workspace, params = Workspace(folder), load_params(folder / "params.yaml")
    run_ingest(workspace, params)
    find_duplicates(workspace, params)
    stratify(workspace, params)
    return workspace, params


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    one, params_one = prepared(tmp_path / "one")
    two, params_two = prepared(tmp_path / "two", processes=2)
    seen: list[dict[str, Any]] = []
    alone = train_launched("diffusion", one, params_one)
    both = train_launched("diffusion", two, params_two, lambda row: seen.append(dict(row)))
    assert both.images == alone.images == 48
    steps = [row for row in seen if "step" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]  # the first process alone reports
    assert all(row["worst_stratum"].startswith("phantom/") for row in steps)
    assert [Path(row["sheet"]).name for row in seen if "sheet" in row] == ["final.png"]
    folders = [one.model("diffusion"), two.model("diffusion")]
    curves = [pq.read_table(f / "losses.parquet")["loss"].to_pylist() for f in folders]
    assert curves[1] == pytest.approx(curves[0], rel=TOLERANCE)
    strata = [read_rows(f / STRATUM_LOSSES, StratumLossRow) for f in folders]
    assert [r.shown for r in strata[0]] == [r.shown for r in strata[1]]
    assert sum(r.shown for r in strata[0]) == 48
    assert "| phantom/" in (folders[0] / "card.md").read_text(encoding="utf-8")
    weights = [load_file(f / "model.safetensors") for f in folders]
    worst = max(float((weights[0][k].float() - weights[1][k].float()).abs().max()) for k in weights[0])
    assert worst < 0.01  # six steps at 2e-4 move a weight by 1.2e-3 at most


def test_two_processes_augment_and_regularise_as_one_does(tmp_path: Path) -> None:
    short = {
        "images": 48,
        "batch": 8,
        "width": 4,
        "log_every": 1,
        "learning_rate": 1e-4,
        "path_every": 2,
        "r1_every": 2,
        "watch": {"least_diversity": 0},
    }
    curves = []
    for processes in (1, 2):
        workspace, params = prepared(tmp_path / str(processes), processes=processes, stylegan2=short)
        train_launched("stylegan2", workspace, params)
        curves.append(pq.read_table(workspace.model("stylegan2") / "losses.parquet").to_pydict())
    for name in ("discriminator", "generator", "real_sign", "augmented", "path_length"):
        assert curves[1][name] == pytest.approx(curves[0][name], rel=10 * TOLERANCE, abs=1e-4), name
    assert curves[0]["path_length"][-1] > 0


_RANKS = """
import sys, torch
sys.path[:0] = [{tests!r}]
import test_training as t
from accelerate import PartialState
from dataclasses import replace
budget = replace(t.BUDGET, optimizer="{optimizer}")
run = t.train("{name}", __import__("pathlib").Path(sys.argv[1]) / "state", budget=budget)
torch.save({{k: v for k, v in run.recipe.net.state_dict().items()}}, f"{{sys.argv[1]}}/{{PartialState().process_index}}.pt")
"""


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("diffusion", "adamw"), ("diffusion", "muon"), ("gan", "adamw"), ("dcgan", "adamw"), ("stylegan2", "adamw")],
)
def test_both_processes_end_with_equal_weights(name: str, optimizer: str, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    code = _RANKS.format(tests=str(Path(__file__).parent), name=name, optimizer=optimizer)
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    subprocess.run([*command, str(tmp_path)], check=True, env=env, timeout=240, capture_output=True)
    left, right = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(left[k], right[k]) for k in left)


def test_a_worker_s_error_is_the_training_s(tmp_path: Path) -> None:
    workspace, params = prepared(tmp_path / "w", batch=9, processes=2)
    with pytest.raises(ParamsError, match=r"train\.diffusion\.batch: 9 images over 2 processes"):
        train_launched("diffusion", workspace, params)


def test_workers_end_when_the_one_who_started_them_is_killed(tmp_path: Path) -> None:
    workspace, _ = prepared(tmp_path / "w", processes=2)
    slow = yaml.safe_load((workspace.root / "params.yaml").read_text(encoding="utf-8"))
    slow["train"]["diffusion"]["images"] = 80_000
    (workspace.root / "params.yaml").write_text(yaml.safe_dump(slow), encoding="utf-8")
    code = (
        "from pathlib import Path; from pipelines.train.launch import train_launched\n"
        "from schemas.params import load_params; from schemas.paths import Workspace\n"
        "w = Workspace(Path.cwd()); train_launched('diffusion', w, load_params(w.params), lambda r: print(r, flush=True))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=workspace.root, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline()
    children = descendants(parent.pid)
    assert len(children) >= 3  # the launcher and two workers
    parent.kill()
    parent.wait(timeout=30)
    deadline = time.monotonic() + 60
    while (left := [pid for pid in children if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def test_an_accelerate_config_is_the_launch_command(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(ParamsError, match=r"train\.accelerate: no file gpu\.yaml.*infra/accelerate"):
        launch_command("gan", workspace, TrainParams(accelerate="gpu.yaml"))
    (tmp_path / "gpu.yaml").write_text("num_processes: 8\n", encoding="utf-8")
    command = launch_command("gan", workspace, TrainParams(accelerate="gpu.yaml"))
    assert command is not None
    assert command[2:] == [
        "accelerate.commands.launch", "--config_file", str(tmp_path / "gpu.yaml"), "-m", "pipelines.train.worker", "gan",
    ]  # fmt: skip


def descendants(pid: int) -> list[int]:
    """Return the processes below one, as /proc says."""
    children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [d for child in children for d in descendants(child)]


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
