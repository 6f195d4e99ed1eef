"""One build at a time in a workspace."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from schemas.errors import WorkspaceError
from schemas.paths import Workspace


@contextmanager
def hold(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace for this process. The system drops the lock with the process, so it is never stale.

    Raises:
        WorkspaceError: another build holds it; the message names its process id and its start.
    """
    workspace.state.mkdir(exist_ok=True)
    with (workspace.state / "build.lock").open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "of unknown process id"
            raise WorkspaceError(
                f"another build ({holder}) is at work in this workspace; wait for it or stop it"
            ) from None
        handle.truncate(0)
        handle.write(f"pid {os.getpid()}, since {datetime.now():%H:%M}")
        handle.flush()
        try:
            yield
        finally:
            handle.truncate(0)
