"""A process that ends when its parent does, however the parent ends.

A pipe is held open for writing by the parent alone. Its reader sees end-of-file when the parent closes it or dies,
`kill -9` included, so nothing is left behind and no process is ever looked up by its name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "EQUIDERM_LIFELINE"
"""Names the pipe in the environment of a stage that a build started."""

STOPPED = 143
"""Exit status of a stage whose build is gone: 128 + SIGTERM, as a shell reports it."""


def follow(descriptor: int, then: Callable[[], None]) -> None:
    """Call `then` from a background thread once nobody holds the other end of `descriptor` any more."""

    def wait() -> None:
        while os.read(descriptor, 64):
            pass
        then()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


@contextmanager
def held() -> Iterator[None]:
    """Hold a named pipe open; every stage started meanwhile ends when this block does.

    Named, because DVC closes all inherited descriptors of the commands it runs.
    """
    folder = Path(tempfile.mkdtemp(prefix="equiderm-"))
    pipe = folder / "alive"
    os.mkfifo(pipe)
    # Read and write: opening for writing alone would wait for a reader.
    descriptor = os.open(pipe, os.O_RDWR)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(pipe)
    try:
        yield
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def follow_build() -> None:
    """End this process at once when the build that started it is gone. Does nothing outside a build.

    At once is safe: a stage writes to temporary names and renames, and `train` and `produce` resume by content key.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    try:
        # Not blocking: if the build is gone already there is no writer and the first read says so.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        os._exit(STOPPED)
    os.set_blocking(descriptor, True)
    follow(descriptor, lambda: os._exit(STOPPED))
