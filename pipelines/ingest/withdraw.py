"""Taking somebody out: the entries for a patient, a row or an image, and for the very pixels they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq

from pipelines.imaging.normalise import image_id, normalise
from pipelines.ingest.pseudonym import salt_name, salted
from pipelines.ingest.withdrawn import read_withdrawn, write_withdrawn
from pipelines.sources.interface import Refused, SourceRow
from pipelines.sources.permission import permitted_sources
from pipelines.sources.registry import open_source
from schemas.errors import NotFoundError, UserError
from schemas.params import IngestParams, Params
from schemas.paths import Workspace
from schemas.withdrawal import WithdrawalKind, WithdrawalRow
from schemas.words import Modality


@dataclass(frozen=True)
class Found:
    """What an id stands for: the dataset it is of, how many rows it names, their pictures, and rows that look alike."""

    dataset: str
    rows: int
    images: tuple[str, ...]
    alike: tuple[str, ...] = ()


@dataclass(frozen=True)
class Withdrawal:
    """What was put on the list."""

    dataset: str
    kind: WithdrawalKind
    rows: int
    """Source rows that it names now."""
    images: int
    """Different pictures of those rows, each on the list too, so that a copy in another source stays out."""
    entries: int
    """Lines added; 0 if all were there before."""
    alike: tuple[str, ...]
    """Rows of the catalog in the same duplicate cluster: near copies, not withdrawn; look at them."""
    next: str


def withdraw(
    workspace: Workspace, params: Params, source: str, kind: WithdrawalKind, name: str, why: str, absent: bool = False
) -> Withdrawal:
    """Return what was added to infra/withdrawn.csv. Only salted hashes are written.

    Args:
        source: a name under `sources.use`.
        kind: what `name` is: the publisher's id of a patient or row, or an image_id.
        why: kept in the list as it is.
        absent: record it also if nothing here has that id.

    Raises:
        NotFoundError: no such source, or nothing of it has that id and not `absent`.
        UserError: the reason holds the id, or none was given.
        ParamsError: the list is damaged or of another salt.
    """
    _check_words(name, why)
    present = read_withdrawn(workspace, params.ingest.salt).entries
    found = find(workspace, params, source, kind, name)
    if not found.rows and not absent:
        raise NotFoundError(
            f"source {source}: no {kind.value} with that id; the publisher's own spelling is needed; check it, or "
            "record it all the same with --absent"
        )
    added = [e for e in _entries(params.ingest.salt, found, kind, name, why) if not _is_there(e, present)]
    write_withdrawn(workspace, [*present, *added])
    return Withdrawal(
        found.dataset, kind, found.rows, len(found.images), len(added), found.alike,
        "commit infra/withdrawn.csv; `equiderm impact --withdrawn` names what used it; `equiderm build` makes everything "
        "anew without it; `dvc gc --workspace` then drops the old pixels from the cache",
    )  # fmt: skip


def _check_words(name: str, why: str) -> None:
    if not name.strip() or not why.strip():
        raise UserError("withdraw: an empty id or reason; both are needed; give the id as published and --why TEXT")
    if re.search(rf"(?<!\w){re.escape(name.strip())}(?!\w)", why):
        raise UserError("withdraw: the reason holds the id itself, and the list is committed; say why without it")


def _entries(salt: str, found: Found, kind: WithdrawalKind, name: str, why: str) -> Iterator[WithdrawalRow]:
    fixed = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "dataset": found.dataset, "salt": salt_name(salt)}
    if kind != WithdrawalKind.IMAGE:
        digest = salted(salt, found.dataset, kind.value, name.strip())
        yield WithdrawalRow(kind=kind, digest=digest, reason=why.strip(), **fixed)
    own = (name.strip().lower().removesuffix(".png"),) if kind == WithdrawalKind.IMAGE else ()
    for image in sorted({*found.images, *own}):
        digest = salted(salt, "", "image", image)
        yield WithdrawalRow(kind=WithdrawalKind.IMAGE, digest=digest, reason=why.strip(), **fixed)


def _is_there(entry: WithdrawalRow, present: tuple[WithdrawalRow, ...]) -> bool:
    return any((entry.kind, entry.dataset, entry.digest) == (e.kind, e.dataset, e.digest) for e in present)


def find(workspace: Workspace, params: Params, source: str, kind: WithdrawalKind, name: str) -> Found:
    """Return what an id of a source stands for: by the catalog if it knows it, else by the source's own rows.

    Raises:
        NotFoundError: no such source in params.yaml, or it is left out by `sources.require`.
        SourceError: the source cannot be opened.
    """
    used = permitted_sources(params)
    if source not in used:
        raise NotFoundError(f"source {source}: not one of {', '.join(used)}; use a name under sources.use")
    reader = open_source(source, used[source], workspace)
    wanted = {
        WithdrawalKind.PATIENT: ("patient_id", salted(params.ingest.salt, reader.id_space, "patient", name.strip())),
        WithdrawalKind.ROW: ("source_row_id", name.strip()),
        WithdrawalKind.IMAGE: ("image_id", name.strip().lower().removesuffix(".png")),
    }[kind]
    listed = [r for r in _catalog(workspace, *wanted) if r["source"] == source or kind != WithdrawalKind.ROW]
    images = {row["image_id"] for row in listed}
    rows = len(listed)
    # The catalog alone is not enough: a row of theirs may be in quarantine because its pixels entered from elsewhere.
    # Phantoms are drawn to be read, and no two are alike: the catalog will do.
    if kind != WithdrawalKind.IMAGE and not (listed and reader.modality == Modality.PHANTOM):
        named = [row for row in reader.rows(0, len(reader)) if _names(row, kind, name.strip())]
        images |= {made for row in named if (made := _image_of(row, params.ingest))}
        rows = max(rows, len(named))
    clusters = {row["dup_cluster"] for row in listed} - {None}
    near = [row for c in sorted(clusters) for row in _catalog(workspace, "dup_cluster", c) if row not in listed]
    alike = tuple(sorted(f"{row['source']} row {row['source_row_id']}" for row in near))
    return Found(reader.id_space, rows, tuple(sorted(images)), alike)


def _catalog(workspace: Workspace, column: str, value: str) -> list[dict[str, Any]]:
    files = sorted(workspace.catalog.glob("*.parquet")) if workspace.catalog.is_dir() else []
    columns = ["image_id", "source", "source_row_id", "dup_cluster"]
    return [
        row
        for file in files
        for row in pq.read_table(file, columns=columns, filters=[(column, "==", value)]).to_pylist()
    ]


def _names(row: SourceRow, kind: WithdrawalKind, name: str) -> bool:
    if kind == WithdrawalKind.ROW:
        return row.row_id == name
    return row.facts.patient == name if row.facts else name in row.raw.values()


def _image_of(row: SourceRow, settings: IngestParams) -> str | None:
    """Return the image_id that a row has in a catalog, None if it cannot have one."""
    if row.picture is None:
        return None
    try:
        loaded = row.picture.load(settings)
    except Refused:
        return None
    return image_id(normalise(loaded.image, loaded.mask, settings.resolution).pixels)
