"""A text file line by line in bounded memory: a field of a gigabyte is refused, not read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from schemas.errors import SourceError

LONGEST_FIELD: Final = 131_072
"""Characters. The publishers' longest are a few hundred."""

LONGEST_LINE: Final = 4 * 2**20
"""Bytes."""

LARGEST_TABLE: Final = 2**30
"""Bytes. A table is held in memory."""


class BoundedText:
    """Lines of a UTF-8 file, with or without a byte order mark; size and sha256 are known when all were read."""

    def __init__(self, path: Path, where: str) -> None:
        """Remember the file; `where` begins every message."""
        self._path = path
        self._where = where
        self._digest = hashlib.sha256()
        self._read = 0

    @property
    def identity(self) -> dict[str, Any]:
        """Bytes and sha256 of what was read."""
        return {"bytes": self._read, "sha256": self._digest.hexdigest()}

    def __iter__(self) -> Iterator[str]:
        """Yield the lines with their ends.

        Raises:
            SourceError: unreadable, not UTF-8, UTF-16 without a mark, a line or the file is too long.
        """
        try:
            if self._path.stat().st_size > LARGEST_TABLE:
                raise self._error(
                    f"is over {LARGEST_TABLE:,} bytes", "a smaller table", "split it into several sources"
                )
            with self._path.open("rb") as handle:
                while line := handle.readline(LONGEST_LINE + 1):
                    yield from self._decoded(line)
        except OSError as error:
            raise self._error(f"cannot be read ({error.strerror or error})", "a readable file", "check it") from None

    def _decoded(self, line: bytes) -> Iterator[str]:
        if len(line) > LONGEST_LINE:
            raise self._error(f"has a line over {LONGEST_LINE:,} bytes", "shorter ones", "look for an unclosed quote")
        start, self._read = self._read, self._read + len(line)
        self._digest.update(line)
        try:
            text = line.decode("utf-8-sig" if start == 0 else "utf-8")
        except UnicodeDecodeError as error:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")) and start == 0:
                raise self._error("is UTF-16", "UTF-8", "save it again as UTF-8") from None
            raise self._error(
                f"is not UTF-8 at byte {start + error.start}", "UTF-8", "save it again as UTF-8"
            ) from None
        if start == 0 and "\0" in text:
            raise self._error("has NUL bytes in its header", "UTF-8 text", "save it again as UTF-8")
        # A lone carriage return ends a line too, as in tables saved on old machines.
        yield from io.StringIO(text, newline="") if "\r" in text[:-2] else [text]

    def _error(self, got: str, need: str, do: str) -> SourceError:
        return SourceError(f"{self._where} {got}; needs {need}; {do}")
