"""All shards become the catalog: equal pixels enter once, every row is counted, then the folders are swapped in."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.pack import Packer
from pipelines.ingest.plan import ShardPlan, plan_shards
from pipelines.ingest.shard import ShardCount, ShardFiles, shard_files, staging
from pipelines.sources.permission import permitted_sources
from schemas.catalog import LABEL_CONFLICT, CatalogRow, CopyRow, PixelRow, QuarantineRow
from schemas.errors import CheckFailed
from schemas.params import Params
from schemas.paths import Workspace
from schemas.table import Row, arrow_schema, from_table, read_table, to_table, write_text

STRAY: Final = "file_without_row"


class SourceCount(Row):
    """What became of one source: rows + files_without_row = catalog + the quarantine's total."""

    rows: int
    """Rows of the publisher's table."""
    files_without_row: int
    """Image files that no row names; all of them are in quarantine."""
    catalog: int
    quarantine: dict[str, int]
    """By code."""


class IngestResult(Row):
    """Counts by source, in the order of params.yaml."""

    sources: dict[str, SourceCount]

    @property
    def catalog(self) -> int:
        """Images that entered."""
        return sum(count.catalog for count in self.sources.values())

    @property
    def quarantine(self) -> int:
        """Rows and files that did not."""
        return sum(sum(count.quarantine.values()) for count in self.sources.values())

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(count.rows for count in self.sources.values())


@dataclass
class _Tally:
    """A source's counts while its shards are read."""

    entries: int = 0
    catalog: int = 0
    codes: Counter[str] = field(default_factory=Counter)


class _Entered(NamedTuple):
    """The row that pixels entered with."""

    source: str
    row_id: str
    lesion: str
    fst: int | None


class _Settled(NamedTuple):
    """A shard once the shards before it are known."""

    catalog: pa.Table
    stays: list[bool]
    """Of every row of the shard's own catalog, whether it is in `catalog`."""
    copies: pa.Table
    quarantine: pa.Table


def settle_catalog(workspace: Workspace, params: Params) -> IngestResult:
    """Return the counts, having made data/{catalog,images,copies,quarantine} from the finished shards.

    Of rows with equal pixels the first stays, in the order of params.yaml and the tables; the others go to quarantine
    as `duplicate_pixels`, or `label_conflict` where they name another lesion, naming it. They are in copies too: whom they
    show and what they say of the lesion holds for the picture that stays, and dedupe, which compares pictures, decides
    on it. The four folders are built beside the old ones and swapped in last. Killed before that, the old ones stand and
    a rerun resumes; killed within, a rerun swaps again. Called again when all is settled, it changes nothing and returns
    the same.

    Raises:
        CheckFailed: a shard is missing, or rows in are not catalog + quarantine.
        SourceError: a source is missing.
    """
    plans = plan_shards(workspace, params)
    record = staging(workspace) / f"settled-{_build_key(plans, params)}.json"
    targets = (workspace.catalog, workspace.images, workspace.copies, workspace.quarantine)
    if record.is_file() and all(folder.is_dir() for folder in targets):
        _drop_leftovers(workspace, record)
        return IngestResult.model_validate_json(record.read_text(encoding="utf-8"))
    _require_shards(workspace, plans)
    build = staging(workspace) / "build"
    shutil.rmtree(build, ignore_errors=True)
    result = _merge(workspace, params, plans, build)
    # Every record, not only this one's: killed between two swaps, what lies there is no build's.
    for old in staging(workspace).glob("settled-*.json"):
        old.unlink()
    for folder in targets:
        _swap(build / folder.name, folder)
    write_text(result.model_dump_json(), record)
    _drop_leftovers(workspace, record)
    return result


def _build_key(plans: Iterable[ShardPlan], params: Params) -> str:
    named = ",".join(plan.key for plan in plans) + f";{params.ingest.shard_rows}"
    return hashlib.sha256(named.encode()).hexdigest()[:24]


def _require_shards(workspace: Workspace, plans: Sequence[ShardPlan]) -> None:
    missing = [p for p in plans if not shard_files(workspace, p.key).count.is_file()]
    if missing:
        first = missing[0]
        raise CheckFailed(
            f"{len(missing)} of {len(plans)} shards are not there, first {first.source} rows {first.start} to "
            f"{first.stop}; settling needs all; run ingest again, it resumes (a source may have changed meanwhile)"
        )


def _merge(workspace: Workspace, params: Params, plans: Sequence[ShardPlan], build: Path) -> IngestResult:
    """Return the counts, having packed every shard into `build`. One shard and one output file are in memory."""
    kept: dict[str, _Entered] = {}
    tallies: dict[str, _Tally] = {}
    size = params.ingest.shard_rows
    for name in permitted_sources(params):
        rows, pixels, copies, refused = (
            Packer(build / folder, name, row, size)
            for folder, row in (
                ("catalog", CatalogRow), ("images", PixelRow), ("copies", CopyRow), ("quarantine", QuarantineRow),
            )
        )  # fmt: skip
        tally = tallies[name] = _Tally()
        for plan in (p for p in plans if p.source == name):
            files = shard_files(workspace, plan.key)
            settled = _settle_shard(files, kept)
            rows.add(settled.catalog)
            copies.add(settled.copies)
            refused.add(settled.quarantine)
            if pixels.takes(len(settled.stays)) and all(settled.stays):
                pixels.take(files.images)
            elif any(settled.stays):
                pixels.add(read_table(files.images, PixelRow).filter(pa.array(settled.stays, pa.bool_())))
            tally.entries += ShardCount.model_validate_json(files.count.read_text(encoding="utf-8")).rows
            tally.catalog += settled.catalog.num_rows
            tally.codes.update(settled.quarantine.column("code").to_pylist())
        for packer in (rows, pixels, copies, refused):
            packer.close()
    return IngestResult(sources={name: _count(name, tally) for name, tally in tallies.items()})


def _count(name: str, tally: _Tally) -> SourceCount:
    """Return a source's counts; every row that went in must have come out."""
    out = tally.catalog + tally.codes.total()
    if tally.entries != out:
        raise CheckFailed(
            f"source {name}: {tally.entries} rows and files in, {tally.catalog} in the catalog and "
            f"{tally.codes.total()} in quarantine; they need to add up; delete data/.ingest and run ingest again"
        )
    strays = tally.codes[STRAY]
    return SourceCount(
        rows=tally.entries - strays,
        files_without_row=strays,
        catalog=tally.catalog,
        quarantine=dict(sorted(tally.codes.items())),
    )


def _settle_shard(files: ShardFiles, kept: dict[str, _Entered]) -> _Settled:
    """Return a shard's catalog without pixels seen before, and what becomes of the rows with those.

    Adds what stays to `kept`.
    """
    catalog = read_table(files.catalog, CatalogRow)
    columns = [catalog.column(c).to_pylist() for c in ("image_id", "source", "source_row_id", "lesion", "fst")]
    out = read_table(files.quarantine, QuarantineRow)
    refused = out.num_rows - catalog.num_rows
    stays, repeats = [], []
    for position, (image, *said) in enumerate(zip(*columns, strict=True)):
        row = _Entered(*said)
        stays.append(image not in kept)
        if image in kept:
            record = from_table(out.slice(refused + position, 1), QuarantineRow)[0]
            repeats.append(record.model_copy(update=_repeat(image, row, kept[image])))
        else:
            kept[image] = row
    mask = pa.array(stays, pa.bool_())
    schema = arrow_schema(CopyRow)
    return _Settled(
        catalog=catalog.filter(mask),
        stays=stays,
        copies=catalog.filter(pc.invert(mask)).select(schema.names).cast(schema),
        quarantine=pa.concat_tables([out.slice(0, refused), to_table(repeats, QuarantineRow)]),
    )


def _repeat(image: str, row: _Entered, first: _Entered) -> dict[str, str]:
    """Return why a row with pixels seen before stays out, as code and message; where labels disagree it says so."""
    message = f"its pixels entered as {image} from {first.source} row {first.row_id}"
    if row[2:] != first[2:]:
        message += f", and the labels disagree ({_label(row)} here, {_label(first)} there)"
    if row.lesion != first.lesion:
        needed = "one picture needs one diagnosis, so dedupe leaves that row out too; correct or drop the wrong row"
        return {"code": LABEL_CONFLICT, "message": f"{message}; {needed}"}
    return {"message": f"{message}; each enters once; drop one row"}


def _label(row: _Entered) -> str:
    return f"{row.lesion}, FST {row.fst or 'unknown'}"


def _swap(new: Path, target: Path) -> None:
    """Put `new` where `target` is. The old folder is moved aside first, so that no mixture of files ever shows."""
    aside = new.with_name(f"{new.name}.old")
    if target.exists():
        target.replace(aside)
    target.parent.mkdir(parents=True, exist_ok=True)
    new.replace(target)


def _drop_leftovers(workspace: Workspace, record: Path) -> None:
    """Remove everything of this and earlier runs from the staging folder but the record."""
    for path in staging(workspace).iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != record:
            path.unlink(missing_ok=True)
