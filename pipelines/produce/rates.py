"""How fast parts of a production were on this machine. Kept with the machine's state, never with the results."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from schemas.paths import Workspace
from schemas.table import write_text
from schemas.timing import Timing

MOST_LINES: Final = 4000
"""Timings kept: the newest. About 800 KB, and more than any interval gains from."""

_LOCK = threading.Lock()
_AT_WORK = 0
_BEGUN: set[str] = set()


@dataclass
class Measured:
    """What is known only at the end of a piece of work."""

    attempts: int = 0
    blocks: int = 0
    bytes: int = 0
    busy: float = 0.0


def record(workspace: Workspace, timing: Timing) -> None:
    """Write down what something took. Failing to is no reason to stop a production."""
    path = workspace.timings
    line = timing.model_dump_json(exclude_defaults=True) + "\n"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as handle:  # one short write: lines of several processes do not mix
            handle.write(line)
        if path.stat().st_size > 2 * MOST_LINES * len(line):
            kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[-MOST_LINES:]
            write_text("".join(kept), path)


def read_timings(workspace: Workspace) -> list[Timing]:
    """Return what was measured here, oldest first; lines that say nothing are left out."""
    try:
        lines = workspace.timings.read_text(encoding="utf-8").splitlines()[-MOST_LINES:]
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        with suppress(ValidationError):
            found.append(Timing.model_validate_json(line))
    return found


@contextmanager
def timed(workspace: Workspace, what: Any, **about: Any) -> Iterator[Measured]:
    """Record how long the body takes, if it ends well; what it learns on the way goes into the yielded `Measured`."""
    begun, measured = time.monotonic(), Measured()
    yield measured
    known = {name: value for name, value in vars(measured).items() if value}
    record(workspace, Timing(what=what, seconds=time.monotonic() - begun, **about, **known))


@contextmanager
def timed_block(workspace: Workspace, generator: str, device: str, workers: int) -> Iterator[Measured]:
    """Record one block. The processor time of a process is shared out among the blocks it makes at that moment."""
    global _AT_WORK
    with _LOCK:
        _AT_WORK += 1
        what = "block" if generator in _BEGUN else "first"
        _BEGUN.add(generator)
        at_once = _AT_WORK
    begun, used, measured = time.monotonic(), time.process_time(), Measured(blocks=1)
    try:
        yield measured
        measured.busy = (time.process_time() - used) / max(at_once, _AT_WORK)
        known = {name: value for name, value in vars(measured).items() if value}
        about: dict[str, Any] = {"what": what, "generator": generator, "device": device, "workers": workers, **known}
        record(workspace, Timing(seconds=time.monotonic() - begun, **about))
    finally:
        with _LOCK:
            _AT_WORK -= 1


def cores() -> int:
    """Return the processor cores this process may use."""
    counted: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(counted(0)) if counted else os.cpu_count() or 1
