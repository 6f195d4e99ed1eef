"""A unit of work that takes too long: told, and ended so that it can be tried again elsewhere."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.utilities.timeout import timeout

HUNG = 124
"""Exit status of a worker process that ended itself, as `timeout` ends."""


@contextmanager
def deadline(seconds: float | None, what: str, *, process: bool) -> Iterator[None]:
    """Give the block `seconds` to end.

    Args:
        seconds: None for no limit.
        what: named in the message.
        process: this process does nothing else and its engine starts another one (a Dask or Ray worker): it is ended,
            whatever it hangs in, and the engine tries the work elsewhere. Otherwise an error is raised in this thread,
            which code that never comes back to Python does not see.

    Raises:
        TimeoutError: the block took longer (`process` false).
    """
    if seconds is None:
        yield
    elif process:
        timer = threading.Timer(seconds, _end, [f"{what}: not done after {seconds:g} s; this worker ends itself"])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
    else:
        try:
            with timeout(seconds):
                yield
        except TimeoutError:
            raise TimeoutError(
                f"{what}: not done after {seconds:g} s; find out what it waits for, or raise produce.block_timeout_s"
            ) from None


def _end(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(HUNG)
