"""Which code computes: a digest of the source, the same wherever the same checkout lies."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]
_CODE: Final = ("pipelines", "schemas")
_SUFFIXES: Final = frozenset({".py", ".sql", ".json", ".j2", ".css", ".csv"})


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """Return the sha256 over the names and contents of the source files that compute results; read once a process.

    Not the git commit: that changes with every commit, also one that only records a finished release, and the same
    code must give the same bytes. Any commit can be checked against it: check it out and call this function.
    """
    digest = hashlib.sha256()
    for package in _CODE:
        files = (p for p in (_ROOT / package).rglob("*") if p.suffix in _SUFFIXES and "__pycache__" not in p.parts)
        for path in sorted(files):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content}  {path.relative_to(_ROOT).as_posix()}\n".encode())
    return digest.hexdigest()
