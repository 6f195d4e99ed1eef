"""Never twice, never lost: workers killed at random points, and disks that fill, lock or tear a file.

The generator is a trivial one so that 44 kills fit into a minute; all that is tested is the real thing: processes,
signals, a full tmpfs.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from production_worker import work
from production_workspace import PatchworkGenerator, ThumbnailExtractor, precalibrate, write_workspace

from pipelines.produce.run import produce_quotas
from schemas.errors import CheckFailed, DiskFullError, WorkspaceError
from schemas.ledger import AttemptRow, SyntheticRow
from schemas.params import GateParams, Params
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import Lesion

QUOTAS = {(5, Lesion.MELANOMA): 70, (6, Lesion.NEVUS): 70}
GATES = GateParams(lesion_min_probability=0.0, tone_tolerance_deg=8)
KILLS = 44
WORKERS = 2
PATIENCE_S = 240

pytestmark = pytest.mark.timeout(400)


def produce(workspace: Workspace, params: Params) -> None:
    produce_quotas(workspace, params, generator=PatchworkGenerator(), extractor=ThumbnailExtractor())


def outputs(workspace: Workspace) -> dict[str, bytes]:
    """Return the bytes of everything a production hands on."""
    files = [*workspace.ledger.iterdir(), *workspace.shards.iterdir(), workspace.production / "result.json"]
    return {str(f.relative_to(workspace.root)): f.read_bytes() for f in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Params]:
    """An undisturbed production."""
    workspace, params = write_workspace(tmp_path_factory.mktemp("made"), QUOTAS, gates=GATES, block=4)
    precalibrate(workspace, params)
    produce(workspace, params)
    return workspace, params


@pytest.fixture
def begun(made: tuple[Workspace, Params], tmp_path: Path) -> tuple[Workspace, Params]:
    """The same workspace, calibrated, with nothing made."""
    return unmade(made[0], tmp_path / "begun"), made[1]


def unmade(workspace: Workspace, folder: Path) -> Workspace:
    shutil.copytree(workspace.root, folder)
    begin_again(Workspace(folder))
    return Workspace(folder)


def begin_again(workspace: Workspace) -> None:
    """Remove all that was produced but the gates' calibration."""
    for path in workspace.production.iterdir():
        if path.name != "gates":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def start() -> Iterator[object]:
    """Return a function that starts a worker process within milliseconds: forked from one that has imported all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["production_worker"])
    # It imports before it learns of this process's sys.path, and says nothing of what it could not import.
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[2])))
    started: list[ForkServerProcess] = []

    def begin(workspace: Workspace, params: Params, number: int) -> ForkServerProcess:
        process = context.Process(target=work, args=(workspace.root, params, number, WORKERS), daemon=True)
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ValueError):
            process.kill()
            process.join()


def blocks_made(workspace: Workspace) -> int:
    return len(list(workspace.blocks.glob("[!.]*"))) if workspace.blocks.is_dir() else 0


def test_44_kills_of_workers_change_nothing(
    made: tuple[Workspace, Params], begun: tuple[Workspace, Params], start: object
) -> None:
    expected, chance = outputs(made[0]), random.Random(20_261_122)
    workspace, params = begun
    workers: dict[int, ForkServerProcess] = {}
    kills = finished = 0
    killed_with: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    while kills < KILLS or workers:
        assert time.monotonic() < deadline, f"{kills} kills, {finished} productions finished"
        for number in range(WORKERS):
            if number not in workers and not (workspace.production / "result.json").exists():
                workers[number] = start(workspace, params, number)  # type: ignore[operator]
        wanted = blocks_made(workspace) + chance.randrange(8)
        patience = time.monotonic() + 3
        while blocks_made(workspace) < wanted and any(w.is_alive() for w in workers.values()):
            if time.monotonic() > patience:
                break
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.02))
        number = chance.randrange(WORKERS)
        if kills < KILLS and number in workers and workers[number].is_alive():
            os.kill(workers[number].pid or 0, signal.SIGKILL)
            workers.pop(number).join()
            kills += 1
            killed_with.add(blocks_made(workspace))
        for number, process in list(workers.items()):
            if not process.is_alive():
                assert process.exitcode == 0
                workers.pop(number).join()
        if not workers and (workspace.production / "result.json").exists():
            assert outputs(workspace) == expected
            finished += 1
            begin_again(workspace)
            if kills == KILLS:
                break
    assert kills == KILLS
    assert finished >= 1
    assert len(killed_with) >= 10, "kills at many different points of a production"


def test_nothing_is_there_twice_or_missing(made: tuple[Workspace, Params]) -> None:
    workspace = made[0]
    rows = read_rows(workspace.ledger, AttemptRow)
    kept = [row.image_id for row in read_rows(workspace.shards, SyntheticRow)]
    assert len({row.image_id for row in rows}) == len(rows)
    assert sorted(kept) == sorted(row.image_id for row in rows if row.accepted)
    assert len(kept) == 140


@pytest.mark.parametrize("what", ["ledger", "shards", "blocks"])
@pytest.mark.parametrize("how", ["truncated", "emptied", "removed"])
def test_a_file_damaged_by_hand_is_repaired(
    made: tuple[Workspace, Params], tmp_path: Path, what: str, how: str
) -> None:
    expected = outputs(made[0])
    shutil.copytree(made[0].root, tmp_path / "copy")
    workspace = Workspace(tmp_path / "copy")
    victim = sorted((workspace.production / what).glob("*.parquet"))[1]
    content = victim.read_bytes()
    if how == "removed":
        victim.unlink()
    else:
        victim.write_bytes(content[: len(content) // 2] if how == "truncated" else b"")
    produce(workspace, made[1])
    assert outputs(workspace) == expected
    assert victim.exists()


def test_a_block_damaged_while_producing_is_refused_then_made_anew(
    made: tuple[Workspace, Params], tmp_path: Path
) -> None:
    from pipelines.produce.plan import plan_production
    from pipelines.produce.schedule import Schedule
    from pipelines.produce.settle import settle_production

    shutil.copytree(made[0].root, tmp_path / "copy")
    workspace, params = Workspace(tmp_path / "copy"), made[1]
    plan = plan_production(workspace, params, PatchworkGenerator())
    schedule = Schedule(workspace, plan)
    assert schedule.missing() == []
    victim = sorted(workspace.blocks.glob("*.parquet"))[3]
    victim.write_bytes(victim.read_bytes()[:-9])
    with pytest.raises(CheckFailed, match=rf"{victim.name}: lost or damaged since it was made; run `equiderm produce`"):
        settle_production(workspace, params, plan, schedule)
    produce(workspace, params)
    assert outputs(workspace) == outputs(made[0])


def test_a_full_disk_is_told_and_what_is_finished_is_kept(
    made: tuple[Workspace, Params], begun: tuple[Workspace, Params]
) -> None:
    workspace, params = begun
    size = sum(f.stat().st_size for f in workspace.production.rglob("*") if f.is_file())
    shutil.move(workspace.production / "gates", workspace.root / "gates")
    options = f"size={size + 300_000}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(workspace.production)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        shutil.copytree(workspace.root / "gates", workspace.production / "gates")
        with pytest.raises(DiskFullError, match=r"production/\S+: the disk is full, .* run it again: what is finished"):
            produce(workspace, params)
        kept = {f.name: f.read_bytes() for f in workspace.blocks.glob("[!.]*")}
        assert kept
        subprocess.run(["mount", "-o", "remount,size=64m", str(workspace.production)], check=True)
        produce(workspace, params)
        assert {name: (workspace.blocks / name).read_bytes() for name in kept} == kept, "not made twice"
        assert outputs(workspace) == outputs(made[0])
    finally:
        subprocess.run(["umount", str(workspace.production)], check=True)


def test_a_folder_that_may_not_be_written_is_told_in_one_line(
    made: tuple[Workspace, Params], begun: tuple[Workspace, Params]
) -> None:
    workspace, params = begun
    mount = ["mount", "--bind", str(workspace.production), str(workspace.production)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no read-only folder can be mounted here: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(workspace.production)], check=True)
        with pytest.raises(WorkspaceError, match=r"may not be written \(Read-only file system\); ") as caught:
            produce(workspace, params)
        assert "\n" not in str(caught.value)
    finally:
        subprocess.run(["umount", str(workspace.production)], check=True)
    produce(workspace, params)
    assert outputs(workspace) == outputs(made[0])
