"""The flow in its own process on a real server: on threads, Dask and Ray the same bytes; which engines and workers are refused."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flow_workspace import STAGE, outputs, stage_environment, write_flow_workspace

from flows.engine import gpu_limit, task_runner
from flows.server import local_server
from pipelines.produce.plan import plan_production
from pipelines.produce.terms import require_terms, terms_of
from schemas.errors import CheckFailed, UserError
from schemas.params import Params
from schemas.paths import Workspace
from schemas.words import Lesion

QUOTAS = {(5, Lesion.MELANOMA): 12, (6, Lesion.NEVUS): 12}
FLOW_S = 240

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of one Prefect server for all flows here."""
    with local_server(Workspace(tmp_path_factory.mktemp("server"))) as started:
        started.wait()
        yield started.url


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, server: str) -> tuple[Workspace, Params]:
    """A production by threads, undisturbed."""
    workspace, params = write_flow_workspace(tmp_path_factory.mktemp("made"), QUOTAS, workers=2)
    done = run(workspace, server)
    assert done.returncode == 0, done.stderr
    return workspace, params


@pytest.fixture
def begun(made: tuple[Workspace, Params], tmp_path: Path) -> Workspace:
    """The same workspace, calibrated, with nothing made."""
    shutil.copytree(made[0].root, tmp_path / "begun")
    workspace = Workspace(tmp_path / "begun")
    for name in ("blocks", "ledger", "shards"):
        shutil.rmtree(workspace.production / name)
    return workspace


def run(workspace: Workspace, server: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the produce stage in a process of its own."""
    env = stage_environment(PREFECT_API_URL=server, NO_PROXY="127.0.0.1", **QUIET, **environment)
    return subprocess.run(
        STAGE, cwd=workspace.root, env=env, capture_output=True, text=True, timeout=FLOW_S, check=False
    )


QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "DO_NOT_TRACK": "1"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """Return a Dask scheduler's address and a function that lists its workers' process ids."""
    scheduler_file = tmp_path / "scheduler.json"
    env = stage_environment(**QUIET)
    common = ["--local-directory", str(tmp_path), "--scheduler-file", str(scheduler_file), "--no-dashboard"]
    processes = []

    def start(*command: str) -> None:
        with (tmp_path / f"{command[0]}-{len(processes)}.log").open("wb") as log:
            whole = [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]]
            processes.append(subprocess.Popen(whole, env=env, stdout=log, stderr=log, cwd=tmp_path))

    try:
        start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", *common[2:])
        deadline = time.monotonic() + 60
        while not scheduler_file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        for name in ("one", "two"):
            start("dask_worker", "--host", "127.0.0.1", "--nthreads", "1", "--name", name, "--no-nanny", *common)
        from distributed import Client

        with Client(scheduler_file=str(scheduler_file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=150)

            def workers() -> list[int]:
                found = client.run(os.getpid)
                return [found[address] for address in sorted(found)]

            yield client.scheduler.address, workers
    finally:
        for process in processes[::-1]:
            process.terminate()
        for process in processes[::-1]:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def test_dask_with_one_of_two_workers_killed_half_way(
    made: tuple[Workspace, Params], begun: Workspace, cluster: tuple[str, Callable[[], list[int]]], server: str
) -> None:
    address, workers = cluster
    half = len(list(made[0].blocks.iterdir())) // 2
    killed: list[int] = []

    def kill_half_way() -> None:
        while not begun.blocks.is_dir() or len(list(begun.blocks.glob("[!.]*"))) < half:
            time.sleep(0.02)
        killed.append(workers()[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_half_way, daemon=True)
    killer.start()
    done = run(begun, server, EQUIDERM_ENGINE="dask", EQUIDERM_DASK_SCHEDULER=address)
    assert done.returncode == 0, done.stderr
    assert killed
    assert outputs(begun) == outputs(made[0])


@pytest.mark.parametrize(("engine", "module"), [("dask", "prefect_dask"), ("ray", "ray")])
def test_an_engine_started_on_this_machine(
    made: tuple[Workspace, Params], begun: Workspace, server: str, engine: str, module: str
) -> None:
    pytest.importorskip(module)
    done = run(begun, server, EQUIDERM_ENGINE=engine)
    assert done.returncode == 0, done.stderr
    assert outputs(begun) == outputs(made[0])


def test_one_gpu_slot_is_held_by_one_block_at_a_time(server: str) -> None:
    code = (
        "import json, threading, time\n"
        "from flows.engine import gpu_limit\n"
        "from tasks.produce import slot\n"
        "name, spans = gpu_limit(), []\n"
        "def work():\n"
        "    with slot(name):\n"
        "        start = time.monotonic(); time.sleep(0.4); spans.append((start, time.monotonic()))\n"
        "threads = [threading.Thread(target=work) for _ in range(3)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(json.dumps(sorted(spans)))"
    )
    env = stage_environment(PREFECT_API_URL=server, NO_PROXY="127.0.0.1", EQUIDERM_GPU_SLOTS="1", **QUIET)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    spans = json.loads(done.stdout)
    assert len(spans) == 3
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


@pytest.mark.parametrize("slots", ["0", "two", "-1"])
def test_gpu_slots_that_are_no_number_are_refused(slots: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUIDERM_GPU_SLOTS", slots)
    with pytest.raises(
        UserError, match=f"EQUIDERM_GPU_SLOTS is '{slots}'; needs how many blocks may hold a GPU at once"
    ):
        gpu_limit()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"EQUIDERM_ENGINE": "spark"}, "EQUIDERM_ENGINE is 'spark'; needs threads, dask or ray"),
        (
            {"EQUIDERM_DASK_SCHEDULER": "tcp://x:1"},
            "EQUIDERM_DASK_SCHEDULER is set and EQUIDERM_ENGINE is threads; set EQUIDERM_ENGINE=dask or unset "
            "EQUIDERM_DASK_SCHEDULER",
        ),
        (
            {"EQUIDERM_ENGINE": "dask", "EQUIDERM_RAY_ADDRESS": "ray://x:1"},
            "EQUIDERM_RAY_ADDRESS is set and EQUIDERM_ENGINE is dask; set EQUIDERM_ENGINE=ray or unset EQUIDERM_RAY_ADDRESS",
        ),
    ],
)
def test_an_engine_that_cannot_be_is_refused(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        task_runner(2)
    assert str(caught.value) == message


@pytest.mark.parametrize(("engine", "module"), [("dask", "prefect_dask"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_says_what_to_install(
    engine: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQUIDERM_ENGINE", engine)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        UserError, match=rf"{engine}, which is not installed .*; run `pip install 'equiderm\[{engine}\]'`"
    ):
        task_runner(2)


def test_a_worker_with_other_code_params_or_checkpoint_is_refused(
    made: tuple[Workspace, Params], tmp_path: Path
) -> None:
    workspace, params = made
    terms = terms_of(params, plan_production(workspace, params))
    require_terms(workspace, "gan", terms)
    others = {"code": {"code_sha256": "0" * 64}, "params.yaml": {"params": "0" * 64}}
    others["models/gan"] = {"checkpoints": {"gan": "0" * 64}}
    for word, update in others.items():
        with pytest.raises(CheckFailed) as caught:
            require_terms(workspace, "gan", terms.model_copy(update=update))
        assert str(caught.value).startswith(f"worker: {word}")
        assert "planned with 000000000000; nothing was made here" in str(caught.value)
        assert "\n" not in str(caught.value)
    other = Workspace(tmp_path)
    shutil.copytree(workspace.model("gan"), other.model("gan"))
    other.params.write_text(workspace.params.read_text().replace("block: 4", "block: 5"))
    with pytest.raises(CheckFailed, match=r"^worker: params.yaml is [0-9a-f]{12}, planned with [0-9a-f]{12}"):
        require_terms(other, "gan", terms)
    other.params.write_text(workspace.params.read_text().replace("workers: 2", "workers: 7"))
    require_terms(other, "gan", terms)
