"""Which code computes: a digest of the source, the same wherever the same checkout lies."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]

ALL: Final = ("pipelines", "schemas")
"""All that computes results."""

RUN: Final = frozenset({".py", ".sql", ".csv"})
"""Of files that decide what is computed."""

SHOWN: Final = RUN | {".json", ".j2", ".css"}
"""And of those that decide how it is shown or declared, and what the shipped bases are."""


@cache
def code_sha256(folders: tuple[str, ...] = ALL, suffixes: frozenset[str] = SHOWN, root: Path = _ROOT) -> str:
    """Return the sha256 over the names and contents of source files in some folders; read once a process.

    Not the git commit: that changes with every commit, also one that only records a finished release, and the same
    code must give the same bytes. Any commit can be checked against it: check it out and call this function.

    Args:
        folders: from the checkout's root; searched to the bottom.
    """
    digest = hashlib.sha256()
    for folder in folders:
        files = (p for p in (root / folder).rglob("*") if p.suffix in suffixes and "__pycache__" not in p.parts)
        for path in sorted(files):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content}  {path.relative_to(root).as_posix()}\n".encode())
    return digest.hexdigest()
