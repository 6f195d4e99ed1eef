"""How a .sql file is run and how its rows are written: streamed, checked against the declared schema, renamed last."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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

MEMORY_LIMIT = "1GB"
"""What DuckDB may hold before it spills to the workspace's state folder."""


def statement(folder: Path, name: str) -> str:
    """Return the text of one .sql file of a folder."""
    return (folder / f"{name}.sql").read_text(encoding="utf-8")


def connect(workspace: Workspace) -> duckdb.DuckDBPyConnection:
    """Return an in-memory database that spills beside the workspace's other state instead of growing."""
    workspace.state.mkdir(parents=True, exist_ok=True)  # DuckDB makes its own folder inside, but no parent
    con = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(workspace.state / "duckdb"),
            "preserve_insertion_order": False,
        }
    )
    con.execute("SET enable_progress_bar = false")  # it would print on stdout, where results go
    return con


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


def copy_files(workspace: Workspace, stage: str) -> list[str]:
    """Return the Parquet files of the rows that stayed out as exact copies, sorted by name; `stage` is who asks.

    Raises:
        WorkspaceError: there is none. Ingest writes one a source, also if it is empty.
    """
    files = sorted(str(p) for p in workspace.copies.glob("*.parquet") if not p.name.startswith("."))
    if not files:
        folder = workspace.copies.relative_to(workspace.root)
        raise WorkspaceError(
            f"{folder}: got no Parquet file; {stage} must know whom exact copies show; run `equiderm ingest` first"
        )
    return files


def stream(con: duckdb.DuckDBPyConnection, query: str, given: dict[str, Any], row: type[Row]) -> Iterator[pa.Table]:
    """Yield the rows of a query as tables of at most `ROW_GROUP` rows under the declared schema of `row`."""
    schema = arrow_schema(row)
    for batch in con.sql(query, params=given).to_arrow_reader(ROW_GROUP):
        yield pa.Table.from_batches([batch]).select(schema.names).cast(schema)


def ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same tables; while one is used, the next is made in a thread, so at most one more is in memory."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, tables, None)
        while (table := coming.result()) is not None:
            coming = pool.submit(next, tables, None)
            yield table


def write_stream(tables: Iterator[pa.Table], row: type[Row], path: Path, *, plain: Sequence[str] = ()) -> None:
    """Write tables one after the other into one Parquet file, zstd, and wait until it is on disk.

    `plain` names columns of which nearly every value differs: building a dictionary for them costs time and gives none.
    """
    schema = arrow_schema(row)
    coded = [name for name in schema.names if name not in plain]
    with path.open("wb") as handle:
        with pq.ParquetWriter(handle, schema, compression="zstd", use_dictionary=coded) as writer:
            for table in tables:
                writer.write_table(table, row_group_size=ROW_GROUP)
        handle.flush()
        os.fsync(handle.fileno())
