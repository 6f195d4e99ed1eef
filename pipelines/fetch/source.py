"""One source that is not a local folder, brought up to date under data/fetched."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.fetch.crowd import Stop, fetch_all
from pipelines.fetch.links import read_links
from pipelines.fetch.mirror import Mirror, Target, refused, unsafe
from pipelines.fetch.s3 import Bucket
from pipelines.fetch.web import Web
from pipelines.sources.folder import SourceFolder
from pipelines.sources.registry import require_name
from schemas.disk import require_room, room
from schemas.errors import DiskFullError, SourceError
from schemas.fetch import FetchedRow, FetchStatus
from schemas.location_params import S3, Location, UrlList
from schemas.paths import Workspace
from schemas.source_params import FolderSource

Progress = Callable[[FetchedRow, int], None]


@dataclass(frozen=True)
class FetchResult:
    """What became of a source's files. named = files + not_here."""

    source: str
    named: int
    """Files that the source names."""
    files: int
    """Of these, here now."""
    bytes: int
    came: int
    """Of the files, fetched by this run."""
    removed: int
    """Files that were here and that the source names no more."""
    not_here: dict[str, int]
    """Files that did not come, by reason."""


def fetch_source(
    workspace: Workspace, name: str, location: Location, on_file: Progress = lambda _row, _of: None
) -> FetchResult:
    """Return the counts of a source's mirror, brought up to date; files that are here and unchanged are not fetched.

    Args:
        on_file: told of each file that came or did not, and how many are asked for in all; from any thread.

    Raises:
        SourceError: its bucket, credentials, server or table are not there, or no host answered. What was here stays.
        DiskFullError: the disk cannot hold it. Finished files stay, half-fetched ones are removed.
    """
    require_name(name)
    mirror = Mirror(workspace, name)
    known = dict(mirror.rows)
    named: dict[str, Target] = {}
    try:
        if location.path.startswith(S3):
            named |= _from_bucket(mirror, name, location, on_file)
        if location.urls is not None:
            named |= _from_links(mirror, name, location, workspace, location.urls, on_file)
        removed = mirror.settle(named)
    except DiskFullError:
        mirror.drop_unfinished()
        raise
    return _result(mirror, name, named, known, removed)


def _from_bucket(mirror: Mirror, name: str, location: Location, on_file: Progress) -> dict[str, Target]:
    stop = Stop()
    bucket = Bucket(name, location, mirror, stop)
    listed = {target.name: target for target in bucket.listing()}
    folders = {"/".join(parts[:n]) for t in listed for parts in [t.split("/")] for n in range(1, len(parts))}
    wanted = []
    for target in listed.values():
        why = unsafe(target.name) or ("its name is a folder's too" if target.name in folders else None)
        if why:
            mirror.record(refused(target, why))
        elif not mirror.holds(target):
            wanted.append(target)
    missing = sum((t.size or 0) - mirror.partial(t).held()[0] for t in wanted)
    require_room(mirror.root, missing)

    def keep(row: FetchedRow) -> None:
        mirror.record(row)
        on_file(row, len(wanted))

    fetch_all(wanted, bucket.fetch, keep, at_once=location.connections, stop=stop)
    return listed


def _from_links(
    mirror: Mirror, name: str, location: Location, workspace: Workspace, urls: UrlList, on_file: Progress
) -> dict[str, Target]:
    named: dict[str, Target] = {}
    if not location.path.startswith(S3):
        folder = _folder(name, location, workspace)
        table = folder.root / urls.table
        # What is copied into the mirror is a plain file there: no later check could tell that it came by a link.
        folder.require_within(table)
        targets, not_asked = read_links(name, table, urls)
        named[urls.table] = _copy_table(mirror, table, location)
    else:
        targets, not_asked = read_links(name, mirror.path(urls.table), urls)
    for row in not_asked:
        named[row.name] = Target(row.name, row.url)
        known = mirror.rows.get(row.name)
        if known is None or (known.status, known.reason, known.url) != (row.status, row.reason, row.url):
            mirror.record(row)
    named |= {target.name: target for target in targets}
    wanted = [t for t in targets if not mirror.holds(t) and not mirror.failed_lately(t, urls.retry_failed_hours)]
    if wanted:
        _ask(mirror, name, wanted, urls, on_file)
    return named


def _folder(name: str, location: Location, workspace: Workspace) -> SourceFolder:
    anywhere = isinstance(location, FolderSource) and location.links == "anywhere"
    return SourceFolder(workspace.path(location.path), location.path, name, anywhere)


def _ask(mirror: Mirror, name: str, wanted: list[Target], urls: UrlList, on_file: Progress) -> None:
    stop = Stop()
    web = Web(mirror, urls, stop)
    first = not any(row.status is FetchStatus.FETCHED and row.url.startswith("http") for row in mirror.rows.values())
    held: list[FetchedRow] = []

    def keep(row: FetchedRow) -> None:
        on_file(row, len(wanted))
        # Until some host has answered, this may be a machine without a network: no reason to call every link broken.
        if web.heard or not first:
            mirror.record(row)
        else:
            held.append(row)

    try:
        fetch_all(wanted, web.fetch, keep, at_once=urls.concurrency, stop=stop)
    finally:
        web.close()
    if held and not web.heard:
        raise SourceError(
            f"sources.use.{name}: none of {len(wanted)} addresses gave any answer, the first: {held[0].url}: "
            f"{held[0].reason}; needs a network; check it and run it again"
        )
    for row in held:
        mirror.record(row)


def _copy_table(mirror: Mirror, table: Path, location: Location) -> Target:
    data = table.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    stat = table.stat()
    modified = datetime.fromtimestamp(int(stat.st_mtime), UTC)
    target = Target(table.name, f"{location.path}/{table.name}", sha256, len(data), modified)
    if not mirror.holds(target):
        partial = mirror.partial(target)
        with room(mirror.path(target.name), len(data)):
            partial.start(None)
            shutil.copyfile(table, partial.path)
        done = partial.digests()
        partial.finish(mirror.path(target.name), modified)
        mirror.record(
            FetchedRow(
                name=target.name,
                url=target.url,
                status=FetchStatus.FETCHED,
                etag=sha256,
                modified=modified,
                bytes=done.bytes,
                sha256=done.sha256,
                reason=None,
                attempts=1,
                fetched_at=datetime.now(UTC),
            )
        )
    return target


def _result(
    mirror: Mirror, name: str, named: dict[str, Target], known: dict[str, FetchedRow], removed: int
) -> FetchResult:
    rows = [mirror.rows[n] for n in named]
    here = [row for row in rows if row.status is FetchStatus.FETCHED]
    missing = Counter(row.reason or "" for row in rows if row.status is not FetchStatus.FETCHED)
    return FetchResult(
        source=name,
        named=len(rows),
        files=len(here),
        bytes=sum(row.bytes for row in here),
        came=sum(known.get(row.name) != row for row in here),
        removed=removed,
        not_here=dict(sorted(missing.items())),
    )
