"""One shard of source rows becomes Parquet files: catalog rows, their pixels, and what was refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from pipelines.ingest.intake import TOGETHER, Intake, Outcome
from pipelines.ingest.pack import ROW_GROUP
from pipelines.ingest.plan import ShardPlan
from pipelines.ingest.withdrawn import Withdrawn, read_withdrawn
from pipelines.sources.interface import SourceReader
from pipelines.sources.registry import open_source
from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.params import IngestParams, Params
from schemas.paths import Workspace
from schemas.table import Row, write_rows, write_text


class ShardCount(Row):
    """What became of a shard's rows. Written last, so its file is the mark of a finished shard."""

    source: str
    number: int
    rows: int
    catalog: int
    quarantine: dict[str, int]
    """Rows by code."""


@dataclass(frozen=True)
class ShardFiles:
    """Where a shard lies while ingest runs."""

    catalog: Path
    images: Path
    quarantine: Path
    """The refused rows; then, in the catalog's order, every row that entered, as `duplicate_pixels` without a message:
    what becomes of it should an earlier shard hold the same pixels. The catalog does not keep the publisher's row."""
    count: Path


def staging(workspace: Workspace) -> Path:
    """Return the folder of unfinished work. It outlives a killed run and is emptied by `settle_catalog`."""
    return workspace.catalog.with_name(".ingest")


def shard_files(workspace: Workspace, key: str) -> ShardFiles:
    """Return the paths of the shard with that key."""
    folder = staging(workspace) / "shards"
    return ShardFiles(
        catalog=folder / f"{key}.catalog.parquet",
        images=folder / f"{key}.images.parquet",
        quarantine=folder / f"{key}.quarantine.parquet",
        count=folder / f"{key}.json",
    )


def ingest_shard(workspace: Workspace, params: Params, plan: ShardPlan) -> ShardCount:
    """Return the counts of a shard, having written its files; a finished shard is not made again.

    Runs in any thread or process. A row that cannot enter is refused with a code; only a missing source raises.

    Raises:
        SourceError: the source's folder, table or columns are gone.
    """
    files = shard_files(workspace, plan.key)
    if files.count.is_file():
        return ShardCount.model_validate_json(files.count.read_text(encoding="utf-8"))
    source = params.sources.use[plan.source]
    reader = _reader(workspace, plan.source, source.model_dump_json(), plan.source_digest)
    outcome = _read_rows(reader, plan, params.ingest, read_withdrawn(workspace, params.ingest.salt))
    write_rows(outcome.catalog, CatalogRow, files.catalog)
    write_rows(outcome.images, PixelRow, files.images, row_group_size=ROW_GROUP)
    write_rows([*outcome.refused, *outcome.entered], QuarantineRow, files.quarantine)
    count = ShardCount(
        source=plan.source,
        number=plan.number,
        rows=plan.stop - plan.start,
        catalog=len(outcome.catalog),
        quarantine=dict(sorted(Counter(row.code for row in outcome.refused).items())),
    )
    write_text(count.model_dump_json(), files.count)
    return count


def _read_rows(reader: SourceReader, plan: ShardPlan, settings: IngestParams, withdrawn: Withdrawn) -> Outcome:
    intake, rows = Intake(plan.source, reader, settings, withdrawn), reader.rows(plan.start, plan.stop)
    while some := list(islice(rows, TOGETHER)):
        intake.take(some)
    return intake.outcome


@lru_cache(maxsize=8)
def _reader(workspace: Workspace, name: str, source_json: str, digest: str) -> SourceReader:  # noqa: ARG001
    """Return the source, opened once a process and state of the source: `digest` is there to tell states apart."""
    params = Params.model_validate({"sources": {"use": {name: json.loads(source_json)}}})
    return open_source(name, params.sources.use[name], workspace)
