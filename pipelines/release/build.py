"""The release stage: everything the earlier stages made, as one folder that stands by itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipelines.release import tally
from pipelines.release.checks import check_inputs, check_metrics
from pipelines.release.datasheet import render_datasheet
from pipelines.release.facts import as_json, release_facts
from pipelines.release.inputs import Inputs, open_inputs
from pipelines.release.lineage import lineage
from pipelines.release.pictures import choose_pictures, release_sheet
from pipelines.release.report import render_report
from pipelines.release.seal import seal
from pipelines.release.shards import write_index, write_shards
from schemas.ledger import AttemptRow
from schemas.params import Params
from schemas.paths import Workspace
from schemas.release import BalanceRow, QuarantineCountRow, ReleaseFacts
from schemas.table import arrow_schema, write_bytes, write_rows, write_table, write_text


class ReleaseResult(BaseModel):
    """What write_release made."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    folder: Path
    facts: ReleaseFacts
    digest: str = Field(description="sha256 of SHA256SUMS: names every byte of the release")
    files: int = Field(description="including SHA256SUMS")
    bytes: int


def write_release(workspace: Workspace, params: Params) -> ReleaseResult:
    """Return the release written to releases/<name>/; the same inputs and code give the same bytes.

    It is put together in a hidden folder beside that one and renamed when finished, so a reader never sees half of it.

    Raises:
        NotFoundError: a stage before release has not run.
        CheckFailed: the inputs disagree (see `checks`); nothing is written then.
    """
    inputs = open_inputs(workspace, params)
    try:
        check_inputs(inputs)
        strata = tally.balance(inputs)
        check_metrics(inputs, strata)
        facts = release_facts(inputs, tally.counts(inputs, strata))
        target = workspace.releases / params.release.name
        with _replacing(target) as folder:
            _write_tables(inputs, strata, folder)
            _write_pages(inputs, facts, strata, folder)
            digest = seal(folder)
    finally:
        inputs.db.close()
    sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
    return ReleaseResult(folder=target, facts=facts, digest=digest, files=len(sizes), bytes=sum(sizes))


def _write_tables(inputs: Inputs, strata: list[BalanceRow], folder: Path) -> None:
    write_index(inputs, write_shards(inputs, folder), folder)
    ledger = arrow_schema(AttemptRow)
    attempts = inputs.db.sql("SELECT * FROM ledger ORDER BY modality, fst, lesion, seed_index, image_id")
    write_table(attempts.to_arrow_table().select(ledger.names).cast(ledger), folder / "gates.parquet")
    write_rows(strata, BalanceRow, folder / "strata.parquet")
    write_rows(tally.quarantine_counts(inputs), QuarantineCountRow, folder / "quarantine.parquet")


def _write_pages(inputs: Inputs, facts: ReleaseFacts, strata: list[BalanceRow], folder: Path) -> None:
    shown = choose_pictures(inputs)
    per_cell = inputs.params.release.sheet_per_cell
    cells = [(row.modality.value, row.fst, row.lesion.value) for row in strata]
    buffer = BytesIO()
    release_sheet(shown, cells, per_cell, f"{facts.name} {facts.version}: real and synthetic").save(buffer, "PNG")
    write_bytes(buffer.getvalue(), folder / "sheet.png")
    write_text(as_json(facts), folder / "release.json")
    write_text(as_json(lineage(inputs, facts, folder)), folder / "lineage.json")
    write_text(render_datasheet(inputs, facts, strata), folder / "datasheet.md")
    write_text(render_report(inputs, facts, strata, shown), folder / "report.html")


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target` to fill; put it in target's place at the end, or remove it on any error.

    Leftovers of a killed run are removed first. Between the two renames no release has the name for a moment; the old
    one is then still there as `.<name>.previous`, and the next run puts it back or removes it.
    """
    partial = target.with_name(f".{target.name}.partial")
    previous = target.with_name(f".{target.name}.previous")
    if previous.exists() and not target.exists():
        previous.rename(target)
    for leftover in (partial, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        _sync(partial)
        if target.exists():
            target.rename(previous)
        partial.rename(target)
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if previous.exists() and not target.exists():
            previous.rename(target)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Make the folder's names durable; the files in it were synced when they were written."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
