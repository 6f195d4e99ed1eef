"""A source's folder: what it may hold, and its image folders listed once instead of a question to the disk a row."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from schemas.errors import SourceError

ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")


@dataclass(frozen=True)
class FolderIndex:
    """Every file under some folders, by name. Files whose name begins with a dot are not part of a publication."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    """By name, or by path below the root; the first by path where two folders hold the same name."""
    shadowed: list[Path] = field(default_factory=list)
    """Files whose name an earlier folder holds already."""
    outside: set[Path] = field(default_factory=set)
    """Files that are links out of the source's folder."""

    def find(self, names: Iterable[str]) -> Path | None:
        """Return the first of `names` that is there."""
        return next((self.files[name] for name in names if name in self.files), None)

    def relative(self, path: Path) -> str:
        """Return the path within the source, with forward slashes; bytes that are not UTF-8 as escapes."""
        return _below(self.root, path).encode(errors="backslashreplace").decode()

    def fingerprint(self) -> dict[str, Any]:
        """Return file count, bytes, and a digest over every (name, size, mtime); contents are not read."""
        digest, total = hashlib.sha256(), 0
        named = [(self.relative(path), path) for path in (*self.files.values(), *self.shadowed)]
        for name, path in sorted(named, key=itemgetter(0)):
            stat = path.stat()
            total += stat.st_size
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return {"files": len(named), "bytes": total, "digest": digest.hexdigest()}


@dataclass(frozen=True)
class SourceFolder:
    """Where a source lies, and whether links may lead out of it."""

    root: Path
    said: str
    """The path as params.yaml says it; messages never show another."""
    source: str
    links_anywhere: bool = False

    def check(self) -> None:
        """Check that the folder is there.

        Raises:
            SourceError: it is not, or it is a file.
        """
        if self.root.is_dir():
            return
        got = "does not exist"
        if self.root.is_file():
            got = "is an archive" if self.root.suffix.lower() in ARCHIVES else "is a file"
        do = "unpack it" if got == "is an archive" else "correct the path in params.yaml"
        raise self.error(f"folder {self.said} {got}; needs the dataset's folder; {do}")

    def table(self, names: Iterable[str]) -> Path:
        """Return the first of the tables that is there, in the folder or in one of its own name; else the first name.

        Raises:
            SourceError: it leads out of the folder, by a link anywhere on its way or by its name.
        """
        choices = [path for name in names for path in (self.root / name, self.root / Path(name).stem / name)]
        there = [path for path in choices if path.exists()]
        path = next((path for path in there if path.is_file()), there[0] if there else choices[0])
        self.require_within(path)
        return path

    def require_within(self, path: Path) -> None:
        """Raise SourceError if a table leads out of the folder and that is not allowed."""
        if self.leads_out(path):
            shown = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name
            raise self.error(
                f"{shown} leads out of {self.said}; needs a file within it; copy it there, or set links: anywhere"
            )

    def leads_out(self, path: Path) -> bool:
        """Return whether a path leads outside the folder, and that is not allowed; any part of it may be the link."""
        return not self.links_anywhere and not path.resolve().is_relative_to(self.root.resolve())

    def present(self) -> list[str]:
        """Return what the folder holds, for messages: names sorted, folders with a slash, eight at most."""
        names = [e.name + "/" if _is_folder(e) else e.name for e in self.entries(self.root)]
        return names[:8] + (["..."] if len(names) > 8 else [])

    def scan(
        self, folders: Sequence[str], *, keep: Callable[[str], bool] | None = None, by_path: bool = False
    ) -> FolderIndex:
        """Return the files under every folder that matches one of the patterns, one listing a directory.

        Folders within those are listed too (publishers split large sets into parts); symbolic links to folders within
        them are not followed, since they can lead in circles.

        Args:
            folders: patterns for folders directly in the source's; `.` is the source's folder itself, not below.
            keep: whether a file belongs, by its path below the root. None: every file.
            by_path: key the index by path below the root, not by name.

        Raises:
            SourceError: a folder cannot be listed, or is a link out of the source's.
        """
        index = FolderIndex(self.root)
        pending = []
        for entry in self.entries(self.root):
            if _is_folder(entry) and any(fnmatch(entry.name, pattern) for pattern in folders):
                pending.append(self._top(Path(entry.path)))
            elif "." in folders and _is_file(entry):
                self._add(index, entry, keep, by_path)
        while pending:
            nested = []
            for entry in self.entries(pending.pop(0)):
                if entry.is_dir(follow_symlinks=False):
                    nested.append(Path(entry.path))
                elif _is_file(entry):
                    self._add(index, entry, keep, by_path)
            pending = nested + pending
        return index

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """Return what a folder holds by name, names with a leading dot left out; raises SourceError if it cannot."""
        try:
            with os.scandir(folder) as listing:
                return sorted((e for e in listing if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            name = folder.relative_to(self.root).as_posix()
            shown = self.said if name == "." else f"{self.said}/{name}"
            raise self.error(
                f"folder {shown} cannot be listed ({error.strerror or error}); needs a readable folder; "
                "check its permissions"
            ) from None

    def error(self, text: str) -> SourceError:
        """Return the error with the source's name in front."""
        return SourceError(f"sources.use.{self.source}: {text}")

    def _top(self, folder: Path) -> Path:
        if self.leads_out(folder):
            raise self.error(
                f"folder {folder.name} is a link out of {self.said}; needs a folder within it; "
                "move it there, or set links: anywhere"
            )
        return folder

    def _add(
        self, index: FolderIndex, entry: os.DirEntry[str], keep: Callable[[str], bool] | None, by_path: bool
    ) -> None:
        path = Path(entry.path)
        relative = _below(self.root, path)
        if keep is not None and not keep(relative):
            return
        key = relative if by_path else entry.name
        if key in index.files:
            index.shadowed.append(path)
        else:
            index.files[key] = path
        if entry.is_symlink() and self.leads_out(path):
            index.outside.add(path)


def _below(root: Path, path: Path) -> str:
    """Return the path below the root, with forward slashes: of 100,000 files, as text, not part by part."""
    start = f"{root}{os.sep}"
    text = str(path)
    return text[len(start) :].replace(os.sep, "/") if text.startswith(start) else path.relative_to(root).as_posix()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
