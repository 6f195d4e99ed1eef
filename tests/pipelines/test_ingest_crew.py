"""Shards in processes of their own, and files that become part of the catalog as they are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import pad_params, photo, png, row, run_ingest, tree, write_pad

from pipelines.ingest.crew import Crew, crew
from pipelines.ingest.pack import ROW_GROUP, Packer
from pipelines.ingest.plan import plan_shards
from pipelines.ingest.settle import settle_catalog
from schemas.catalog import QuarantineRow
from schemas.errors import CheckFailed, EquidermError, SourceError, error_named
from schemas.paths import Workspace
from schemas.table import read_rows, write_rows


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Nine rows in three shards; the last repeats the first one's pixels."""
    images = {f"P_{n}.png": png(photo(min(n, 10 - n) if n == 9 else n)) for n in range(1, 10)}
    write_pad(tmp_path, [row(n) for n in range(1, 10)], images)
    return Workspace(tmp_path)


def test_two_processes_make_what_one_makes(workspace: Workspace) -> None:
    alone = run_ingest(workspace, pad_params())
    files = {k: v for k, v in tree(workspace.root / "data").items() if not k.startswith(".ingest")}
    shutil.rmtree(workspace.root / "data")
    plans = plan_shards(workspace, pad_params())
    with crew(workspace, pad_params(workers=2), len(plans)) as hired, ThreadPoolExecutor(2) as threads:
        assert hired is not None
        counts = list(threads.map(hired.ingest, plans))
    assert sum(c.catalog for c in counts) == 9
    together = settle_catalog(workspace, pad_params())
    assert together == alone
    assert {k: v for k, v in tree(workspace.root / "data").items() if not k.startswith(".ingest")} == files


def test_one_shard_or_one_worker_needs_no_process(workspace: Workspace) -> None:
    for workers, shards in ((1, 9), (2, 1)):
        with crew(workspace, pad_params(workers=workers), shards) as hired:
            assert hired is None


def test_an_error_in_a_process_is_the_same_error_here(workspace: Workspace) -> None:
    plan = plan_shards(workspace, pad_params())[0]
    shutil.rmtree(workspace.root / "pad")
    hired = Crew(workspace, pad_params())
    with pytest.raises(SourceError, match=r"sources.use.pad: folder pad does not exist; needs the dataset's folder"):
        hired.ingest(plan)
    hired.close()


def test_a_killed_process_is_said_and_replaced(workspace: Workspace) -> None:
    plan = plan_shards(workspace, pad_params())[0]
    hired = Crew(workspace, pad_params(workers=1))
    hired.start()
    (pid,) = children_of(os.getpid())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ConnectionError, match=r"pad rows 0 to 2: .*; look for a file that crashes the decoder"):
        hired.ingest(plan)
    assert hired.ingest(plan).catalog == 2
    hired.close()
    assert children_of(os.getpid()) == []


def test_processes_end_when_their_parent_is_killed(workspace: Workspace) -> None:
    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from miniature import pad_params\n"
        "from pipelines.ingest.crew import Crew; from schemas.paths import Workspace\n"
        "hired = Crew(Workspace(Path(sys.argv[1])), pad_params(workers=2)); hired.start(); print('up', flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(workspace.root), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        workers = children_of(parent.pid)
        parent.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


def children_of(pid: int) -> list[int]:
    """Return the crew's processes under one process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"pipelines.ingest.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def alive(pid: int) -> bool:
    """Return whether a process runs; one that ended and was not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_errors_are_found_by_name() -> None:
    assert error_named("SourceError") is SourceError
    assert error_named("CheckFailed") is CheckFailed
    assert error_named("KeyError") is EquidermError


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 8), max_size=12), st.integers(1, 8))
def test_packed_files_hold_every_row_in_order_and_are_at_least_half_full(
    tmp_path_factory: pytest.TempPathFactory, shards: list[int], size: int
) -> None:
    folder, made = tmp_path_factory.mktemp("pack"), 0
    packer = Packer(folder / "out", "s", QuarantineRow, size)
    for number, count in enumerate(shards):
        rows = [refused(made + i) for i in range(count)]
        made += count
        file = folder / f"{number}.parquet"
        write_rows(rows, QuarantineRow, file, row_group_size=ROW_GROUP)
        if packer.takes(count):
            packer.take(file)
        else:
            packer.add(pq.read_table(file))
    packer.close()
    files = sorted((folder / "out").iterdir())
    assert [r.source_row_id for r in read_rows(files, QuarantineRow)] == [str(i) for i in range(made)]
    lengths = [pq.read_metadata(f).num_rows for f in files]
    assert all(size / 2 <= n <= size for n in lengths[:-1])
    assert lengths[-1] <= size
    assert lengths[-1] > 0 or made == 0


def refused(number: int) -> QuarantineRow:
    return QuarantineRow(source="s", source_row_id=str(number), code="c", message="", raw="{}")


def test_a_process_whose_asker_is_gone_ends_without_a_word(workspace: Workspace) -> None:
    params = pad_params()
    plan = plan_shards(workspace, params)[0]
    asked = f"{params.model_dump_json(by_alias=True)}\n{json.dumps(asdict(plan))}\n"
    reader, writer = os.pipe()
    os.close(reader)  # nobody listens
    command = [sys.executable, "-m", "pipelines.ingest.worker"]
    done = subprocess.run(
        command,
        cwd=workspace.root,
        input=asked,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
