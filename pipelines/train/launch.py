"""One training over several processes: this machine's by torchrun, many machines' by an accelerate config file.

`accelerate launch` starts several processes on CPU through MPI alone, which few machines have, so those go through
torchrun; the training code is the same and finds its group through accelerate in both cases.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.train.run import TrainResult, train_generator
from schemas.errors import CheckFailed, ParamsError, error_named
from schemas.params import Params
from schemas.paths import Workspace
from schemas.train_params import TrainParams

REPORT, RESULT, ERROR = "report", "result", "error"
"""Kinds of line a worker prints: `{"report": {...}}` and so on."""


def train_launched(
    name: str, workspace: Workspace, params: Params, on_progress: Callable[[Mapping[str, Any]], None] = lambda _: None
) -> TrainResult:
    """Train `name` in this process, or in as many as `train.processes` or `train.accelerate` ask for.

    Raises:
        EquidermError: as `train_generator`, whichever process met it; CheckFailed also if a process was lost.
    """
    command = launch_command(name, workspace, params.train)
    if command is None:
        return train_generator(name, workspace, params, on_progress)
    env = {**os.environ, "ACCELERATE_USE_CPU": "false" if _has_gpu() else "true"}
    # A worker ends when its end of stdin closes, so that none is left behind when this process is killed.
    with subprocess.Popen(
        command, cwd=workspace.root, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launched:
        assert launched.stdout is not None
        said: dict[str, Any] = {}
        for line in launched.stdout:
            kind, content = _read(line)
            if kind == REPORT:
                on_progress(content)
            elif kind:
                said[kind] = content
    if ERROR in said:
        raise error_named(said[ERROR]["type"])(said[ERROR]["message"])
    if launched.returncode or RESULT not in said:
        raise CheckFailed(
            f"train {name}: {' '.join(command[1:4])} ended with status {launched.returncode}; "
            "every process needs to finish; run it again, it goes on where it stopped"
        )
    return TrainResult(**{**said[RESULT], "folder": Path(said[RESULT]["folder"])})


def launch_command(name: str, workspace: Workspace, train: TrainParams) -> list[str] | None:
    """Return the command that starts every worker, or None for a training in this process.

    Raises:
        ParamsError: the accelerate config file is not there.
    """
    worker = ["-m", "pipelines.train.worker", name]
    if train.accelerate is not None:
        config = workspace.path(train.accelerate)
        if not config.is_file():
            raise ParamsError(
                f"train.accelerate: no file {train.accelerate}; needs one written by `accelerate config`; "
                "examples are in infra/accelerate"
            )
        return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config), *worker]
    if train.processes == 1:
        return None
    # --standalone: a free port on loopback, no other machine.
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*torchrun, f"--nproc_per_node={train.processes}", *worker]


def _read(line: str) -> tuple[str, Any]:
    try:
        ((kind, content),) = json.loads(line).items()
    except (ValueError, AttributeError):
        return "", None
    return kind, content


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
