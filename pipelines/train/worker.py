"""One process of a launched training: `python -m pipelines.train.worker NAME`, started by `launch` with stdin held open.

Prints one JSON object a line: reports, then the result or the error; the first process alone does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from accelerate import PartialState

from pipelines.train.launch import ERROR, REPORT, RESULT
from pipelines.train.run import train_generator
from schemas.errors import EquidermError
from schemas.params import load_params
from schemas.paths import Workspace

ORPHANED = 143


def main() -> None:
    """Train one generator as one process of a group."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        workspace = Workspace.here()
        result = train_generator(sys.argv[1], workspace, load_params(workspace.params), _report)
    except EquidermError as error:
        _say(ERROR, {"type": type(error).__name__, "message": str(error)})
        raise SystemExit(1) from None
    _say(RESULT, {**asdict(result), "folder": str(result.folder)})
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _end_with_parent() -> None:
    # Not sys.stdin: its lock, held by a thread that waits, aborts the interpreter when it shuts down.
    while os.read(0, 64):
        pass
    os._exit(ORPHANED)


def _report(row: Mapping[str, Any]) -> None:
    _say(REPORT, dict(row))


def _say(kind: str, content: dict[str, Any]) -> None:
    if PartialState().is_main_process:
        print(json.dumps({kind: content}), flush=True)


if __name__ == "__main__":
    main()
