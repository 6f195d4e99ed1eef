"""How a .sql file is run and how its rows are written: streamed, checked against the declared schema, renamed last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import WorkspaceError
from schemas.paths import Workspace
from schemas.table import Row, arrow_schema

ROW_GROUP = 122_880
"""Rows a row group of a streamed file: 60 of DuckDB's vectors."""

MEMORY_LIMIT = "2GB"
"""What DuckDB may hold before it spills to the workspace's state folder; a build has 4 GiB altogether."""


def statement(name: str) -> str:
    """Return the text of one .sql file of this folder."""
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")


def connect(workspace: Workspace) -> duckdb.DuckDBPyConnection:
    """Return an in-memory database that spills beside the workspace's other state instead of growing."""
    workspace.state.mkdir(parents=True, exist_ok=True)  # DuckDB makes its own folder inside, but no parent
    return duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(workspace.state / "duckdb"),
            "preserve_insertion_order": False,
        }
    )


def catalog_files(workspace: Workspace, stage: str) -> list[str]:
    """Return the catalog's Parquet files, sorted by name; `stage` is who asks.

    Raises:
        WorkspaceError: there is none, so ingest has not run.
    """
    files = sorted(str(p) for p in workspace.catalog.glob("*.parquet") if not p.name.startswith("."))
    if not files:
        folder = workspace.catalog.relative_to(workspace.root)
        raise WorkspaceError(f"{folder}: got no Parquet file; {stage} needs a catalog; run `equiderm ingest` first")
    return files


def stream(con: duckdb.DuckDBPyConnection, name: str, given: dict[str, Any], row: type[Row]) -> Iterator[pa.Table]:
    """Yield the rows of a .sql file as tables of at most `ROW_GROUP` rows under the declared schema of `row`.

    The pieces are cut at the same rows on every run, so a file written from them has the same bytes.
    """
    schema = arrow_schema(row)
    waiting = schema.empty_table()
    for batch in con.sql(statement(name), params=given).to_arrow_reader(ROW_GROUP):
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).select(schema.names).cast(schema)])
        while waiting.num_rows >= ROW_GROUP:
            yield waiting.slice(0, ROW_GROUP)
            waiting = waiting.slice(ROW_GROUP)
    if waiting.num_rows:
        yield waiting


def write_stream(tables: Iterator[pa.Table], row: type[Row], path: Path) -> None:
    """Write tables one after the other into one Parquet file, zstd, and wait until it is on disk."""
    with path.open("wb") as handle:
        with pq.ParquetWriter(handle, arrow_schema(row), compression="zstd") as writer:
            for table in tables:
                writer.write_table(table, row_group_size=ROW_GROUP)
        handle.flush()
        os.fsync(handle.fileno())
