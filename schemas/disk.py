"""A disk that fills or may not be written, told in one line instead of a traceback from wherever it was noticed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from schemas.errors import DiskFullError, WorkspaceError

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No space left, or this user's share of it is used up."""

LOCKED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""Mounted for reading only, or not this user's to write."""


@contextmanager
def room(path: Path, needed: int | None) -> Iterator[None]:
    """Say what was being written when a disk fills or refuses inside.

    Args:
        path: file or folder being written.
        needed: bytes it takes in all, where known.

    Raises:
        DiskFullError: instead of the OSError that reports a full disk.
        WorkspaceError: instead of the one that reports a disk or folder that may not be written. Others pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno in LOCKED:
            raise WorkspaceError(
                f"{path}: may not be written ({error.strerror}); give this user the right to write there or move the "
                "workspace, then run it again: what is finished is kept"
            ) from None
        if error.errno not in FULL:
            raise
        raise disk_full(path, needed) from None


def require_room(path: Path, needed: int) -> None:
    """Raise DiskFullError if the disk of `path` has fewer than `needed` bytes free, before anything is written."""
    if free_bytes(path) < needed:
        raise disk_full(path, needed)


def free_bytes(path: Path) -> int:
    """Return the bytes that this user may still write on the disk holding `path` or its nearest existing parent."""
    there = next(p for p in (path, *path.parents) if p.exists())
    stat = os.statvfs(there)
    return stat.f_bavail * stat.f_frsize


def disk_full(path: Path, needed: int | None) -> DiskFullError:
    """Return the error for a disk without room for `path`."""
    need = "more room" if needed is None else f"{needed:,} bytes"
    return DiskFullError(
        f"{path}: the disk is full, {free_bytes(path):,} bytes free; needs {need}; "
        "free space there or move the workspace to a larger disk, then run it again: what is finished is kept"
    )
