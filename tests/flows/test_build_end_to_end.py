"""The whole graph on tiny parameters: built twice, then by hand, then asked of Prefect's own server."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flows.server import local_server
from schemas.paths import Workspace

Run = Callable[..., subprocess.CompletedProcess[str]]
STAGES = [
    "sources",
    "ingest",
    "validate",
    "dedupe",
    "stratify",
    "train@diffusion",
    "train@gan",
    "produce",
    "evaluate",
    "release",
]

pytestmark = pytest.mark.timeout(900)


@dataclass
class Built:
    """A workspace after two builds, and what they said."""

    folder: Path
    first: subprocess.CompletedProcess[str]
    second: subprocess.CompletedProcess[str]
    second_seconds: float

    def states(self, which: subprocess.CompletedProcess[str]) -> dict[str, str]:
        return {stage["stage"]: stage["state"] for stage in json.loads(which.stdout)["stages"]}


@pytest.fixture(scope="session")
def built(new_workspace: Callable[[Path], Path], equiderm: Run, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = new_workspace(tmp_path_factory.mktemp("built"))
    first = equiderm(folder, "build", "--json", timeout=800)
    begun = time.monotonic()
    second = equiderm(folder, "build", "--json")
    return Built(folder, first, second, time.monotonic() - begun)


@pytest.fixture(scope="session")
def api(built: Built) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Ask a Prefect server, started afresh on the workspace's history, for everything of one kind."""
    with local_server(Workspace(built.folder)) as server:
        server.wait()

        def ask(kind: str) -> list[dict[str, Any]]:
            reply = httpx.post(f"{server.url}/{kind}/filter", json={"limit": 200}, timeout=30, trust_env=False)
            reply.raise_for_status()
            found: list[dict[str, Any]] = reply.json()
            return found

        yield ask


def test_first_build_runs_every_stage_in_order(built: Built) -> None:
    assert built.first.returncode == 0, built.first.stderr
    assert list(built.states(built.first)) == STAGES
    assert set(built.states(built.first).values()) == {"Ran"}
    assert "Traceback" not in built.first.stderr


def test_second_build_runs_nothing(built: Built) -> None:
    assert built.second.returncode == 0, built.second.stderr
    assert built.states(built.second) == dict.fromkeys(STAGES, "Unchanged")
    summaries = [stage["summary"] for stage in json.loads(built.second.stdout)["stages"]]
    assert all(summaries), "what a stage said last is shown again"


def test_release_is_what_it_says(built: Built, equiderm: Run) -> None:
    assert (built.folder / "releases/balanced/SHA256SUMS").is_file()
    verified = equiderm(built.folder, "verify", "--json")
    assert verified.returncode == 0, verified.stderr
    counted = {s["stage"]: s["summary"] for s in json.loads(built.first.stdout)["stages"]}
    images = json.loads(verified.stdout)["images"]
    assert images == counted["ingest"]["sources"]["phantom"]["catalog"] + counted["produce"]["accepted"]


def test_repro_by_hand_agrees_that_nothing_is_to_do(built: Built) -> None:
    before = (built.folder / "dvc.lock").read_bytes()
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["dvc", "repro"],
        cwd=built.folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for stage in STAGES[1:]:
        assert f"Stage '{stage}' didn't change, skipping" in done.stdout
    assert (built.folder / "dvc.lock").read_bytes() == before


def test_every_out_of_the_lock_file_is_there(built: Built) -> None:
    lock = yaml.safe_load((built.folder / "dvc.lock").read_text(encoding="utf-8"))
    outs = [out["path"] for stage in lock["stages"].values() for out in stage["outs"]]
    assert set(lock["stages"]) == set(STAGES)
    assert "releases/balanced" in outs
    assert all((built.folder / out).exists() for out in outs)


def test_prefect_shows_each_stage_as_a_task_run_with_its_state(
    built: Built, api: Callable[[str], list[dict[str, Any]]]
) -> None:
    flows = {flow["id"]: flow["name"] for flow in api("flows")}
    builds = [run for run in api("flow_runs") if flows[run["flow_id"]] == "build"]
    builds.sort(key=lambda run: str(run["start_time"]))
    assert [run["state_name"] for run in builds] == ["Completed", "Completed"]
    for run, state in zip(builds, ("Ran", "Unchanged"), strict=True):
        tasks = [task for task in api("task_runs") if task["flow_run_id"] == run["id"]]
        shown = {task["name"].rsplit("-", 1)[0]: (task["state_type"], task["state_name"]) for task in tasks}
        assert shown == dict.fromkeys(STAGES, ("COMPLETED", state))


def test_prefect_keeps_a_table_for_each_stage(built: Built, api: Callable[[str], list[dict[str, Any]]]) -> None:
    artifacts = api("artifacts")
    for stage in STAGES:
        mine = [a for a in artifacts if a["key"] == stage.replace("@", "-")]
        assert mine, stage
        assert all(a["type"] == "markdown" and f"**{stage}**" in a["data"] and "| --- |" in a["data"] for a in mine)


def test_prefect_shows_the_sample_sheets(built: Built, api: Callable[[str], list[dict[str, Any]]]) -> None:
    sheets = [a for a in api("artifacts") if a["key"].startswith("sheet-")]
    assert {a["key"] for a in sheets} == {"sheet-diffusion", "sheet-gan"}
    final = (built.folder / "models/diffusion/sheets/final.png").read_bytes()
    shown = [base64.b64decode(str(a["data"]).partition("base64,")[2]) for a in sheets]
    assert final in shown


def test_the_fan_out_is_seen_too(built: Built, api: Callable[[str], list[dict[str, Any]]]) -> None:
    names = [task["name"] for task in api("task_runs")]
    assert sum(name.startswith("shard-") for name in names) == 2
    assert sum(name.startswith("block-") for name in names) >= 1


def test_status_plan_trace_and_replay(built: Built, equiderm: Run) -> None:
    status = json.loads(equiderm(built.folder, "status", "--json").stdout)
    assert {row["stage"]: row["state"] for row in status["stages"]} == dict.fromkeys(STAGES, "up to date")
    assert status["production"]["attempts"] >= status["production"]["accepted"] >= 1
    planned = json.loads(equiderm(built.folder, "plan", "--json").stdout)
    assert planned["quota"] >= 1
    assert planned["hours"]["low"] > 0
    (release,) = json.loads(equiderm(built.folder, "releases", "--json").stdout)["releases"]
    assert (release["name"], release["verified"]) == ("balanced", True)
    image = _a_synthetic_image(built.folder)
    trace = json.loads(equiderm(built.folder, "trace", image, "--json").stdout)
    assert trace["image_id"] == image
    replayed = equiderm(built.folder, "replay", image, "--json")
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["largest_difference"] <= 8


def test_replay_notices_another_image(built: Built, tmp_path: Path) -> None:
    import shutil

    import numpy as np

    from pipelines.imaging.normalise import encode_png
    from pipelines.produce.remake import remake_image
    from schemas.ledger import SyntheticRow
    from schemas.table import Image, read_rows, write_rows

    for name in ("production", "models/diffusion"):
        shutil.copytree(built.folder / name, tmp_path / name)
    image = _a_synthetic_image(built.folder)
    for shard in (tmp_path / "production/shards").glob("*.parquet"):
        rows = [
            row.model_copy(update={"image": Image(bytes=encode_png(np.zeros((64, 64, 3), np.uint8)), path="x")})
            for row in read_rows(shard, SyntheticRow)
        ]
        write_rows(rows, SyntheticRow, shard)
    assert not remake_image(Workspace(tmp_path), image).same


def _a_synthetic_image(folder: Path) -> str:
    from schemas.ledger import AttemptRow
    from schemas.table import read_rows

    return next(row.image_id for row in read_rows(folder / "production/ledger", AttemptRow) if row.accepted)


def _descendants(pid: int) -> list[int]:
    children = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            children.append(int(entry.parent.name))
    return children + [below for child in children for below in _descendants(child)]


def _alive(pids: list[int]) -> list[int]:
    def lives(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return [pid for pid in pids if lives(pid)]


def _hear_interrupts() -> None:
    """A shell that runs the tests in the background makes them deaf to SIGINT, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_build_leaves_nothing_running_and_lets_no_second_in(
    how: signal.Signals, workspace: Path, equiderm: Run
) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "build"],
        cwd=workspace,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_hear_interrupts,
    )
    assert first.stderr is not None
    while not first.stderr.readline().startswith("sources"):
        assert first.poll() is None
    second = equiderm(workspace, "build")
    assert second.returncode == 2
    assert f"another build (pid {first.pid}, since " in second.stderr
    assert len(second.stderr.splitlines()) == 1
    started = _descendants(first.pid)
    assert started, "a server and a stage"
    if how == signal.SIGINT:
        os.killpg(first.pid, how)  # as a terminal sends it: to the build and its stage
    else:
        first.send_signal(how)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[how], said
    deadline = time.monotonic() + 15
    while _alive(started) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _alive(started) == []
    assert how == signal.SIGINT or "Traceback" not in said
    assert not (workspace / "data/catalog").exists()
