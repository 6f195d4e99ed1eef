"""How fast blocks were made on this machine. Kept with the machine's state, never with the results."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from schemas.paths import Workspace
from schemas.table import write_text


class Rate(NamedTuple):
    """What the last block of a generator took."""

    seconds_per_attempt: float
    bytes_per_attempt: float


def record_rate(workspace: Workspace, generator: str, attempts: int, seconds: float, file: Path) -> None:
    """Write down what a block took. Failing to is no reason to stop a production."""
    if not attempts:
        return
    about = {"seconds_per_attempt": seconds / attempts, "bytes_per_attempt": file.stat().st_size / attempts}
    with suppress(OSError):  # two workers may write at once: the last one's word stands
        write_text(json.dumps(about) + "\n", _path(workspace, generator))


def read_rate(workspace: Workspace, generator: str) -> Rate | None:
    """Return what the last block took, None if none was made here."""
    try:
        return Rate(**json.loads(_path(workspace, generator).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _path(workspace: Workspace, generator: str) -> Path:
    return workspace.state / "rates" / f"{generator}.json"
