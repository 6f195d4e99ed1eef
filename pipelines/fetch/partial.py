"""A file on its way in: its first bytes, and which version of the file they are the first bytes of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from schemas.disk import room

UNDATED = datetime(2000, 1, 1, tzinfo=UTC)
"""Time of a file whose server gives none: the same for everyone who fetches it."""


@dataclass(frozen=True)
class Arrived:
    """A finished file."""

    bytes: int
    sha256: str
    md5: str


class Partial:
    """One unfinished file, kept through interruptions until it is finished or its version is gone."""

    def __init__(self, folder: Path, name: str, url: str) -> None:
        """Name the unfinished file of `name`, which comes from `url`; nothing is written yet."""
        # Both: two images of one address are fetched at once, and neither may write into the other's file.
        key = hashlib.sha256(f"{name}\0{url}".encode(errors="surrogatepass")).hexdigest()[:32]
        self.path = folder / f"{key}.partial"
        self._mark = folder / f"{key}.version"

    def held(self) -> tuple[int, str | None]:
        """Return how many bytes are here, and their version; (0, None) if they cannot be gone on from."""
        if not self.path.is_file() or not self._mark.is_file():
            return 0, None
        version = self._mark.read_text(encoding="utf-8")
        return (self.path.stat().st_size, version) if version else (0, None)

    def start(self, version: str | None) -> None:
        """Begin anew with a version; None is one that cannot be told from others, so that nothing can be resumed."""
        with room(self.path.parent, None):
            self.drop()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._mark.write_text(version or "", encoding="utf-8")
            self.path.touch()

    @contextmanager
    def appending(self, needed: int | None) -> Iterator[IO[bytes]]:
        """Yield the file, open at its end; raises DiskFullError if the disk cannot hold `needed` bytes in all."""
        with room(self.path.parent, needed), self.path.open("ab") as handle:
            yield handle

    def finish(self, target: Path, modified: datetime | None) -> None:
        """Put the file, now whole, at `target`, with its server's date."""
        with room(target, None), self.path.open("rb+") as handle:
            os.fsync(handle.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
        os.utime(self.path, (stamp := (modified or UNDATED).timestamp(), stamp))
        self.path.replace(target)
        self._mark.unlink(missing_ok=True)

    def digests(self) -> Arrived:
        """Return size, sha256 and md5 of what is here; read back from the disk, so a resumed file counts whole."""
        sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        with self.path.open("rb") as handle:
            while chunk := handle.read(1 << 20):
                sha256.update(chunk)
                md5.update(chunk)
                size += len(chunk)
        return Arrived(size, sha256.hexdigest(), md5.hexdigest())

    def drop(self) -> None:
        """Forget what is here."""
        self.path.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)
