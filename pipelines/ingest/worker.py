"""One process of a crew: `python -m pipelines.ingest.worker`, started by `crew` in the workspace.

Reads parameters, then a shard a line, from stdin; answers each with one line on stdout; ends when stdin does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pipelines.ingest.crew import COUNT, ERROR, FAULT, READY
from pipelines.ingest.plan import ShardPlan
from pipelines.ingest.shard import ingest_shard
from schemas.errors import EquidermError
from schemas.params import Params
from schemas.paths import Workspace


def main() -> None:
    """Answer every shard that is asked for."""
    # Ctrl-C reaches every process of the terminal; the one that asked decides, and then closes stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    workspace = Workspace(Path.cwd())
    params = Params.model_validate_json(sys.stdin.readline())
    _say({READY: None})
    for line in sys.stdin:
        _say(_answer(workspace, params, ShardPlan(**json.loads(line))))


def _say(answer: dict[str, Any]) -> None:
    try:
        print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        os._exit(0)  # whoever asked is gone; the shard's files are whole, the next run finds them


def _answer(workspace: Workspace, params: Params, plan: ShardPlan) -> dict[str, Any]:
    try:
        return {COUNT: ingest_shard(workspace, params, plan).model_dump()}
    except EquidermError as error:
        return {ERROR: {"type": type(error).__name__, "message": str(error)}}
    except OSError as error:
        return {FAULT: {"errno": error.errno, "message": error.strerror or str(error)}}


if __name__ == "__main__":
    main()
