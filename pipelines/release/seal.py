"""SHA256SUMS: the names and digests of a release's files, in the format of sha256sum."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from schemas.release import SUMS
from schemas.table import write_text


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def files_of(folder: Path) -> list[str]:
    """Return every file under `folder` but SHA256SUMS, as relative POSIX paths in byte order."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(name for name in found if name != SUMS)


def seal(folder: Path) -> str:
    """Write SHA256SUMS over every other file; return the release's digest: the sha256 of SHA256SUMS itself.

    `cd FOLDER && sha256sum --check SHA256SUMS` reads it.
    """
    text = "".join(f"{file_sha256(folder / name)}  {name}\n" for name in files_of(folder))
    write_text(text, folder / SUMS)
    return file_sha256(folder / SUMS)


def read_sums(text: str) -> dict[str, str]:
    """Return name -> sha256 from the text of a SHA256SUMS file.

    Raises:
        ValueError: a line is not `<64 hex digits>  <relative path>`, or leads out of the folder; the message names it.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        digest, _, name = line.partition("  ")
        path = PurePosixPath(name)
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef") or not name:
            raise ValueError(f"line {number} is not `<sha256>  <file>`")
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"line {number} names {name}, which is outside the release")
        sums[name] = digest
    return sums
