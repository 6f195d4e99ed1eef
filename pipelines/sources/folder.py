"""A publisher's image folders, listed once: a look-up by file name instead of a question to the disk for every row."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from schemas.errors import SourceError


@dataclass(frozen=True)
class FolderIndex:
    """Every file under some folders, by name. Files whose name begins with a dot are not part of a publication."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    """By name; the first by path where two folders hold the same name."""
    shadowed: list[Path] = field(default_factory=list)
    """Files whose name an earlier folder holds already."""

    def find(self, names: Iterable[str]) -> Path | None:
        """Return the first of `names` that is there."""
        return next((self.files[name] for name in names if name in self.files), None)

    def relative(self, path: Path) -> str:
        """Return the path within the source, with forward slashes; bytes that are not UTF-8 as escapes."""
        return path.relative_to(self.root).as_posix().encode(errors="backslashreplace").decode()

    def fingerprint(self) -> dict[str, Any]:
        """Return file count, bytes, and a digest over every (name, size, mtime); contents are not read."""
        digest, total = hashlib.sha256(), 0
        paths = [*self.files.values(), *self.shadowed]
        for path in sorted(paths, key=self.relative):
            stat = path.stat()
            total += stat.st_size
            digest.update(f"{self.relative(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return {"files": len(paths), "bytes": total, "digest": digest.hexdigest()}


def scan(root: Path, folders: Sequence[str]) -> FolderIndex:
    """Return the files under every folder of `root` that matches one of the patterns, one listing a directory.

    Folders within those are listed too (publishers split large sets into parts), symbolic links to folders are not
    followed, since they can lead in circles.
    """
    index = FolderIndex(root)
    tops = [e for e in _entries(root) if e.is_dir() and any(fnmatch(e.name, pattern) for pattern in folders)]
    pending = [Path(e.path) for e in tops]
    while pending:
        nested = []
        for entry in _entries(pending.pop(0)):
            if entry.is_dir(follow_symlinks=False):
                nested.append(Path(entry.path))
            elif entry.is_file():
                if entry.name in index.files:
                    index.shadowed.append(Path(entry.path))
                else:
                    index.files[entry.name] = Path(entry.path)
        pending = nested + pending
    return index


def folders_present(root: Path) -> list[str]:
    """Return what a folder holds, for messages: names sorted, folders with a slash, eight at most."""
    names = [e.name + "/" if e.is_dir() else e.name for e in _entries(root)]
    return names[:8] + (["..."] if len(names) > 8 else [])


def require_folder(root: Path, said: str, source: str) -> None:
    """Check that a source's folder is there.

    Raises:
        SourceError: it is not, or it is a file.
    """
    if not root.is_dir():
        got = "is a file" if root.is_file() else "does not exist"
        raise SourceError(
            f"sources.use.{source}: folder {said} {got}; needs the dataset's folder; correct the path in params.yaml"
        )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as listing:
        return sorted((e for e in listing if not e.name.startswith(".")), key=lambda e: e.name)
