"""A source whose files were fetched, as its adapter's reader sees it: a local folder, with reasons for what is missing.

Only the manifest is read here; fetching is pipelines/fetch, which ran before.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

from pipelines.sources.interface import Fault, SourceReader, SourceRow
from schemas.errors import SourceError
from schemas.fetch import FetchedRow, FetchStatus
from schemas.licences import Licence
from schemas.location_params import Location, UrlList
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import Modality

S = TypeVar("S")


def mirrored(name: str, source: S, workspace: Workspace) -> S:
    """Return the source's parameters with its mirror as its folder; a local source's as they are.

    Raises:
        SourceError: it was never fetched.
    """
    if not isinstance(source, Location) or not source.remote:
        return source
    if not workspace.fetched_manifest(name).is_file():
        raise SourceError(
            f"sources.use.{name}: {source.path} was not fetched yet; needs the stage `sources`; run `equiderm build`"
        )
    folder = workspace.fetched(name).relative_to(workspace.root).as_posix()
    return source.model_copy(update={"path": folder})


class FetchedReader:
    """A SourceReader around another: a missing image says why it did not come, the fingerprint what did."""

    def __init__(self, inner: SourceReader, location: Location, workspace: Workspace) -> None:
        """Read the manifest."""
        self._inner, self._location = inner, location
        self._rows = {row.name: row for row in read_rows(workspace.fetched_manifest(inner.name), FetchedRow)}

    @property
    def name(self) -> str:
        """The source's name in params.yaml."""
        return self._inner.name

    @property
    def dataset(self) -> str:
        """The adapter's name."""
        return self._inner.dataset

    @property
    def id_space(self) -> str:
        """Where its ids mean the same person."""
        return self._inner.id_space

    @property
    def modality(self) -> Modality:
        """The adapter's modality."""
        return self._inner.modality

    @property
    def licence(self) -> Licence:
        """The dataset's licence."""
        return self._inner.licence

    @property
    def table_rows(self) -> int:
        """Rows of the publisher's table."""
        return self._inner.table_rows

    def __len__(self) -> int:
        """Return the rows of the reader within."""
        return len(self._inner)

    def rows(self, start: int, stop: int) -> Iterator[SourceRow]:
        """Yield rows start..stop; an image that could not be fetched is `url_broken`, with its address and reason."""
        for row in self._inner.rows(start, stop):
            yield self._explained(row, self._location.urls) if self._location.urls else row

    def _explained(self, row: SourceRow, urls: UrlList) -> SourceRow:
        if row.fault is None or row.fault.code != "image_missing":
            return row
        said = str(row.raw.get(urls.name, "")).strip()
        found = self._rows.get(f"{urls.folder}/{said}{urls.ending}")
        if found is None or found.status is FetchStatus.FETCHED:
            return row
        asked = found.url or f"no {urls.url}"
        message = f"{asked}: {found.reason}; needs the image; correct the address or read a local folder that has it"
        return replace(row, fault=Fault("url_broken", message))

    def fingerprint(self) -> dict[str, Any]:
        """Return the reader's own, and every fetched file by its contents, every other by its reason."""
        digest, reasons = hashlib.sha256(), Counter[str]()
        present = [row for row in self._rows.values() if row.status is not FetchStatus.REMOVED]
        for row in present:
            digest.update("\0".join((row.name, row.sha256 or "", row.reason or "")).encode() + b"\n")
            if row.status is not FetchStatus.FETCHED:
                reasons[row.reason or ""] += 1
        fetched = {
            "from": self._location.path,
            "named": len(present),
            "not_here": dict(sorted(reasons.items())),
            "digest": digest.hexdigest(),
        }
        return {**self._inner.fingerprint(), "fetched": fetched}
