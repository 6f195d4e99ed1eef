"""kill -9 of the flow's process and of the Prefect server it started, at seeded random points; then it goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_workspace import STAGE, outputs, stage_environment, write_flow_workspace

from schemas.params import Params
from schemas.paths import Workspace
from schemas.words import Lesion

QUOTAS = {(5, Lesion.MELANOMA): 16, (6, Lesion.NEVUS): 16}
TARGETS = ("flow", "server", "flow", "server", "flow", "flow")
PATIENCE_S = 150

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Params]:
    """An undisturbed production, in this process, without Prefect."""
    from pipelines.produce.run import produce_quotas

    workspace, params = write_flow_workspace(tmp_path_factory.mktemp("made"), QUOTAS, workers=2)
    produce_quotas(workspace, params)
    return workspace, params


def processes() -> dict[int, tuple[int, str]]:
    """Return every process's parent and command line."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(entry.name)] = (parent, (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def below(pid: int) -> dict[int, str]:
    """Return all processes started by `pid` and its children, with their command lines."""
    listed = processes()
    children = {child: command for child, (parent, command) in listed.items() if parent == pid}
    return children | {k: v for child in children for k, v in below(child).items()}


def wait_for(what: Callable[[], object], flow: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what() and flow.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_flow_and_server_killed_six_times(made: tuple[Workspace, Params], prefect_home: Path, tmp_path: Path) -> None:
    expected, chance = outputs(made[0]), random.Random(5)
    total = len(list(made[0].blocks.iterdir()))
    shutil.copytree(made[0].root, tmp_path / "w")
    workspace = Workspace(tmp_path / "w")
    for name in ("blocks", "ledger", "shards"):
        shutil.rmtree(workspace.production / name)
    (workspace.production / "result.json").unlink()
    shutil.copytree(prefect_home, workspace.state / "prefect")

    def made_blocks() -> int:
        return len(list(workspace.blocks.glob("[!.]*"))) if workspace.blocks.is_dir() else 0

    kept: dict[str, bytes] = {}
    for number, target in enumerate(TARGETS):
        with (tmp_path / "flow.log").open("wb") as log:
            flow = subprocess.Popen(STAGE, cwd=workspace.root, env=stage_environment(), stdout=log, stderr=log)
        wanted = round(total * chance.uniform(number, number + 1) / len(TARGETS))
        wait_for(lambda least=wanted: made_blocks() >= max(least, 1), flow)
        started = below(flow.pid)
        victim = flow.pid
        if target == "server":
            victim = next((pid for pid, command in started.items() if "flows.server" in command), flow.pid)
        os.kill(victim, signal.SIGKILL)
        code = flow.wait(PATIENCE_S)
        assert code == (1 if victim != flow.pid else -signal.SIGKILL)
        if victim != flow.pid:
            assert (
                "the local Prefect server ended (status -9) while it was needed" in (tmp_path / "flow.log").read_text()
            )
        deadline = time.monotonic() + 20
        while (left := [pid for pid in started if pid in processes()]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == [], "nothing is left running"
        for file in workspace.blocks.glob("[!.]*"):
            assert kept.setdefault(file.name, file.read_bytes()) == file.read_bytes(), "made twice"
    with (tmp_path / "flow.log").open("wb") as log:
        done = subprocess.run(
            STAGE, cwd=workspace.root, env=stage_environment(), stdout=log, stderr=log, timeout=300, check=False
        )
    assert done.returncode == 0, (tmp_path / "flow.log").read_text()[-2000:]
    assert outputs(workspace) == expected
    assert all((workspace.blocks / name).read_bytes() == content for name, content in kept.items())
