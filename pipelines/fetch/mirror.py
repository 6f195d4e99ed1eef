"""The mirror of one source: files under data/fetched/<source>, and a manifest row for each, also for what did not come.

While files arrive their rows go to a journal, a line each, so that a killed run forgets nothing; at the end the
manifest is written whole and the journal goes.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from pipelines.fetch.partial import UNDATED, Arrived, Partial
from schemas.disk import room
from schemas.errors import WorkspaceError
from schemas.fetch import FetchedRow, FetchStatus
from schemas.paths import Workspace
from schemas.table import read_rows, write_rows


@dataclass(frozen=True)
class Target:
    """One file that a source names."""

    name: str
    url: str
    etag: str | None = None
    """Known before it is asked for: S3 lists it."""
    size: int | None = None
    modified: datetime | None = None


class Mirror:
    """What is here of one source. `record` may be called from any thread."""

    def __init__(self, workspace: Workspace, source: str) -> None:
        """Read manifest and journal; nothing is written.

        Raises:
            WorkspaceError: the mirror's folder is a link: what lies behind it is not the factory's to tidy.
        """
        self.root = workspace.fetched(source)
        if self.root.is_symlink():
            raise WorkspaceError(f"{self.root} is a link; needs to be a folder of the workspace; remove the link")
        self._manifest = workspace.fetched_manifest(source)
        self._work = workspace.fetching(source)
        self._journal = self._work / "journal.jsonl"
        self._lock = threading.Lock()
        self._written = read_rows(self._manifest, FetchedRow) if self._manifest.is_file() else []
        self.rows = {row.name: row for row in [*self._written, *self._journalled()]}

    def _journalled(self) -> list[FetchedRow]:
        found = []
        text = self._journal.read_bytes() if self._journal.is_file() else b""
        for line in filter(None, text.split(b"\n")):
            try:
                found.append(FetchedRow.model_validate_json(line))
            except ValidationError:
                continue  # the line being written when the run was killed; its file is asked for again
        return found

    def partial(self, target: Target) -> Partial:
        """Return the unfinished file of a target."""
        return Partial(self._work, target.name, target.url)

    def path(self, name: str) -> Path:
        """Return where a file of that name lies; the name must be one that `unsafe` has nothing against."""
        return self.root / PurePosixPath(name)

    def holds(self, target: Target) -> bool:
        """Return whether the file is here, as it was fetched, from that address and (if known) of that version."""
        row = self.rows.get(target.name)
        if row is None or row.status is not FetchStatus.FETCHED or row.url != target.url:
            return False
        if target.etag is not None and row.etag != target.etag:
            return False
        path = self.path(target.name)
        if not path.is_file() or path.is_symlink():
            return False
        stat = path.stat()
        return stat.st_size == row.bytes and abs(stat.st_mtime - (row.modified or UNDATED).timestamp()) < 1e-3

    def failed_lately(self, target: Target, hours: float) -> bool:
        """Return whether the same address was asked within so many hours and did not give the file."""
        row = self.rows.get(target.name)
        if row is None or row.status is not FetchStatus.FAILED or row.url != target.url:
            return False
        return (datetime.now(UTC) - row.fetched_at).total_seconds() < hours * 3600

    def record(self, row: FetchedRow) -> None:
        """Remember a row through a kill. Its file, if it came, is in place already."""
        # The break comes first too: the line before may be the torn end of a killed run.
        line = b"\n" + row.model_dump_json().encode() + b"\n"
        with self._lock, room(self._journal, len(line)):
            self._work.mkdir(parents=True, exist_ok=True)
            with self._journal.open("ab") as handle:
                handle.write(line)
            self.rows[row.name] = row

    def settle(self, named: Mapping[str, object]) -> int:
        """Write the manifest and return how many files are gone because the source names them no more.

        Whatever else lies in the mirror and is not of the manifest is removed too: nobody vouches for it.
        """
        gone = [row for row in self.rows.values() if row.name not in named and row.status is not FetchStatus.REMOVED]
        for row in gone:
            self.rows[row.name] = removed(row)
        kept = {self.path(r.name) for r in self.rows.values() if r.status is FetchStatus.FETCHED}
        self.root.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in kept:
                path.unlink()
        rows = sorted(self.rows.values(), key=lambda row: row.name)
        if rows != self._written or not self._manifest.is_file():
            write_rows(rows, FetchedRow, self._manifest)
        shutil.rmtree(self._work, ignore_errors=True)
        return sum(row.status is FetchStatus.FETCHED for row in gone)

    def drop_unfinished(self) -> None:
        """Remove half-fetched files, for a disk that is full; the journal of finished ones stays."""
        for path in [*self._work.glob("*.partial"), *self._work.glob("*.version")]:
            path.unlink(missing_ok=True)


def removed(row: FetchedRow) -> FetchedRow:
    """Return the row of a file that its source names no more: what it was stays on record."""
    reason = "its source names it no more"
    return row.model_copy(update={"status": FetchStatus.REMOVED, "reason": reason, "fetched_at": datetime.now(UTC)})


def fetched(target: Target, arrived: Arrived, etag: str | None, modified: datetime | None, attempts: int) -> FetchedRow:
    """Return the row of a file that came whole."""
    return FetchedRow(
        name=target.name,
        url=target.url,
        status=FetchStatus.FETCHED,
        etag=etag,
        modified=modified,
        bytes=arrived.bytes,
        sha256=arrived.sha256,
        reason=None,
        attempts=attempts,
        fetched_at=datetime.now(UTC),
    )


def refused(target: Target, reason: str) -> FetchedRow:
    """Return the row of a file that will not be asked for."""
    return _without(target, FetchStatus.REFUSED, reason, 0)


def failed(target: Target, reason: str, attempts: int) -> FetchedRow:
    """Return the row of a file that did not come."""
    return _without(target, FetchStatus.FAILED, reason, attempts)


def _without(target: Target, status: FetchStatus, reason: str, attempts: int) -> FetchedRow:
    return FetchedRow(
        name=target.name,
        url=target.url,
        status=status,
        etag=None,
        modified=None,
        bytes=0,
        sha256=None,
        reason=reason,
        attempts=attempts,
        fetched_at=datetime.now(UTC),
    )


def unsafe(name: str) -> str | None:
    """Return why a name cannot be a path within the mirror, or None if it can."""
    parts = name.split("/")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "its name leads out of the folder or is no path"
    if any(c == "\\" or ord(c) < 32 or ord(c) == 127 for c in name):
        return "its name holds a backslash or control character"
    if any(len(part.encode(errors="surrogatepass")) > 200 for part in parts) or len(name) > 1000:
        return "its name is longer than a file system takes"
    return None
