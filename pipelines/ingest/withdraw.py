"""Taking somebody out: the entries for a patient, a row or an image, and for the very pixels they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from PIL import Image

from pipelines.ingest.intake import named_pixels
from pipelines.ingest.pseudonym import salt_name, salted
from pipelines.ingest.withdrawn import read_withdrawn, write_withdrawn
from pipelines.sources.interface import Refused, SourceRow
from pipelines.sources.permission import permitted_sources
from pipelines.sources.registry import open_source
from schemas.duplicates import ClusterRow
from schemas.errors import NotFoundError, UserError
from schemas.params import IngestParams, Params
from schemas.paths import Workspace
from schemas.table import read_table
from schemas.withdrawal import WithdrawalKind, WithdrawalRow
from schemas.words import ColourConstancy, Modality


class Making(NamedTuple):
    """What an image_id depends on besides the file: made otherwise, the same picture has another one."""

    resolution: int | None  # None: unknown
    colour_constancy: ColourConstancy


@dataclass(frozen=True)
class Found:
    """What an id stands for: the dataset it is of, how many rows it names, their pictures, and rows that look alike."""

    dataset: str
    rows: int
    made: Mapping[str, Making]
    """How the pixels of each picture, by image_id, were made: as the catalog's were, or as params.yaml says now."""
    alike: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[str, ...]:
        """The image_ids, sorted."""
        return tuple(sorted(self.made))


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
    """Rows in the same duplicate cluster, by the last dedupe: near copies, not withdrawn; look at them."""
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
    there = {_key(entry) for entry in present}
    added = [e for e in _entries(params.ingest, found, kind, name, why) if _key(e) not in there]
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


def _entries(
    settings: IngestParams, found: Found, kind: WithdrawalKind, name: str, why: str
) -> Iterator[WithdrawalRow]:
    salt, made, owner = settings.salt, dict(found.made), None
    fixed = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "dataset": found.dataset, "salt": salt_name(salt), "reason": why.strip()
    }  # fmt: skip
    if kind == WithdrawalKind.IMAGE:
        # One that the catalog does not have: taken for made as now, so that a change of that does not pass in silence.
        made.setdefault(name.strip().lower().removesuffix(".png"), _as_now(settings))
    else:
        owner = salted(salt, found.dataset, kind.value, name.strip())
        yield WithdrawalRow(kind=kind, digest=owner, **fixed)
    for image, by in sorted(made.items()):
        digest = salted(salt, "", "image", image)
        yield WithdrawalRow(kind=WithdrawalKind.IMAGE, digest=digest, of=owner, **by._asdict(), **fixed)


def _key(entry: WithdrawalRow) -> frozenset[tuple[str, Any]]:
    return frozenset(entry.model_dump(exclude={"date", "salt", "reason"}).items())


def _as_now(settings: IngestParams) -> Making:
    return Making(settings.resolution, settings.colour_constancy)


def find(workspace: Workspace, params: Params, source: str, kind: WithdrawalKind, name: str) -> Found:
    """Return what an id of a source stands for: by the catalog if it knows it, else by the source's own rows.

    Raises:
        NotFoundError: no such source in params.yaml, or it is left out by `sources.require`.
        SourceError: the source cannot be opened.
        CheckFailed: the clusters that dedupe wrote have other columns than declared.
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
    now, then = _as_now(params.ingest), _resolution(workspace) if listed else None
    made = {row["image_id"]: Making(then, ColourConstancy(row["colour_constancy"])) for row in listed}
    rows = len(listed)
    # The catalog alone is not enough: a row of theirs may be in quarantine because its pixels entered from elsewhere.
    # Phantoms are drawn to be read, and no two are alike: the catalog will do, if it was made as the next one will be.
    same = {now, now._replace(resolution=None)}
    enough = bool(made) and reader.modality == Modality.PHANTOM and set(made.values()) <= same
    if kind != WithdrawalKind.IMAGE and not enough:
        named = [row for row in reader.rows(0, len(reader)) if _names(row, kind, name.strip())]
        made |= {image: now for row in named if (image := _image_of(row, params.ingest))}
        rows = max(rows, len(named))
    return Found(reader.id_space, rows, made, _alike(workspace, made))


def _alike(workspace: Workspace, images: Mapping[str, Making]) -> tuple[str, ...]:
    """Return the rows that dedupe found to show the same picture as one of the images, by the clusters that it wrote."""
    if not workspace.clusters.is_file():
        return ()
    clustered = read_table(workspace.clusters, ClusterRow).to_pylist()
    clusters = {row["dup_cluster"] for row in clustered if row["image_id"] in images}
    near = [row for row in clustered if row["dup_cluster"] in clusters and row["image_id"] not in images]
    return tuple(sorted(f"{row['source']} row {row['source_row_id']}" for row in near))


def _resolution(workspace: Workspace) -> int | None:
    """Return the side of the catalog's images, px, by the first of them: params.yaml may have changed since."""
    files = sorted(workspace.images.glob("*.parquet")) if workspace.images.is_dir() else []
    for file in files:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(1, columns=["image.bytes"]):
                with Image.open(BytesIO(batch["image"][0].as_py()["bytes"]), formats=("PNG",)) as first:
                    return first.width
    return None


def _catalog(workspace: Workspace, column: str, value: str) -> list[dict[str, Any]]:
    files = sorted(workspace.catalog.glob("*.parquet")) if workspace.catalog.is_dir() else []
    columns = ["image_id", "source", "colour_constancy"]
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
    return named_pixels(loaded, settings)[2]
