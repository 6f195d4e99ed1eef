"""How every stage starts and ends: one workspace, checked parameters, one line and an exit code for every error.

`python -m flows.<stage>` is what dvc.yaml runs. With PREFECT_API_URL set (a build does) the stage's flow runs here at
once; without it (`dvc repro` by hand) the same command runs again under a local server of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flows.lifeline import follow_build, held
from flows.records import INTERRUPTED, STOPPED_LINE, Failure, markdown, plain, write_failure, write_record
from flows.server import Server, drain, local_server
from schemas.errors import EquidermError, WorkspaceError
from schemas.params import Params, load_params
from schemas.paths import Workspace

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.task_runners import TaskRunner

BUILD = "EQUIDERM_BUILD"
"""Set by a build for its stages: the tag of their flow runs, and the sign that the build prints their lines."""
_STARTED = time.time()


def opened() -> tuple[Workspace, Params]:
    """Return the workspace around the current folder and its checked parameters."""
    workspace = Workspace.here()
    return workspace, load_params(workspace.params)


def seconds_running() -> float:
    """Return how long this process has been at work."""
    return time.time() - _STARTED


def publish(workspace: Workspace, stage: str, headline: str, summary: Any) -> dict[str, Any]:
    """Keep a stage's summary, publish it as the flow run's artifact, and return it as plain data."""
    from prefect.artifacts import create_markdown_artifact

    record = write_record(workspace, stage, headline, summary, _STARTED)
    create_markdown_artifact(key=artifact_key(stage), markdown=markdown(record), description=headline)
    result: dict[str, Any] = plain(record.summary)
    return result


def artifact_key(stage: str) -> str:
    """Return the Prefect artifact key of a stage; keys hold no `@`."""
    return stage.replace("@", "-").replace("_", "-")


def main(
    flow: Flow[..., Any], *arguments: str, width: Callable[[Params], int] | None = None, anywhere: bool = False
) -> None:
    """Run a stage's flow and exit: 0 done, 1 a check said no or a bug, 2 something to change, 130 interrupted.

    `width` reads the most units of work at once from the parameters; a flow without it runs one after the other.
    `anywhere` says that they may run in other processes, on the engine that the environment names (flows.engine).
    """

    def run() -> int:
        from flows.engine import task_runner, threads

        return _run(flow, arguments, width or (lambda _: 1), task_runner if anywhere else threads)

    sys.exit(_guarded("@".join((flow.name, *arguments)), run))


def _run(
    flow: Flow[..., Any],
    arguments: tuple[str, ...],
    width: Callable[[Params], int],
    runner: Callable[[int], TaskRunner[Any]],
) -> int:
    workspace, params = opened()
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return _run_with_server(workspace, [sys.executable, "-m", f"flows.{flow.name}", *arguments])
    follow_build()
    Server(url, None, workspace.state).wait()
    from prefect import tags

    try:
        with tags(*filter(None, [os.environ.get(BUILD)])):
            flow.with_options(task_runner=runner(width(params)))(*arguments)
    finally:
        drain()
    return 0


def _run_with_server(workspace: Workspace, command: list[str]) -> int:
    with local_server(workspace) as server, held():
        stage = subprocess.Popen(command, cwd=workspace.root)  # imports while the server starts
        try:
            server.wait()
            return stage.wait()
        finally:
            stage.kill()


def _guarded(stage: str, run: Callable[[], int]) -> int:
    try:
        return run()
    except KeyboardInterrupt:
        code, message = INTERRUPTED, STOPPED_LINE
    except EquidermError as error:
        code, message = error.exit_code, " ".join(str(error).split())
    except Exception as error:  # a bug: the traceback is for us, the last line for the person at the terminal
        traceback.print_exc()
        code, message = 1, f"stopped by an unexpected {type(error).__name__}: {' '.join(str(error).split())}"
    if BUILD not in os.environ:
        print(f"{stage}: {message}", file=sys.stderr, flush=True)
    with suppress(WorkspaceError):
        write_failure(Workspace.here(), Failure(stage=stage, exit_code=code, message=message))
    return code
