"""The three pandas frames the expectations are checked on: rows in batches, the keys of all rows, and the totals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.paths import Workspace
from schemas.table import Row, arrow_schema, read_table

BATCH_ROWS = 200_000
"""Rows a `rows` batch: about 250 MB inside Great Expectations."""


def open_tables(con: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Make the views catalog, images and quarantine over data/; a folder without files is an empty table.

    Raises:
        CheckFailed: a file has other columns than its row type declares.
    """
    tables: tuple[tuple[str, Path, type[Row], str], ...] = (
        ("catalog", workspace.catalog, CatalogRow, "mask"),
        ("images", workspace.images, PixelRow, "image_id"),
        ("quarantine", workspace.quarantine, QuarantineRow, "code"),
    )
    for name, folder, row, cheapest in tables:
        files = sorted(p for p in folder.glob("*.parquet") if not p.name.startswith("."))
        read_table(files, row, columns=[cheapest])  # checks the declared columns of every file
        if files:
            # Arrow leaves NaN out of Parquet statistics, and DuckDB believes them (duckdb/duckdb#25521).
            query = "SELECT * FROM read_parquet($files, can_have_nan = true)"
            con.sql(query, params={"files": [str(f) for f in files]}).create_view(name)
        else:
            con.register(name, arrow_schema(row).empty_table())


def row_frames(con: duckdb.DuckDBPyConnection) -> Iterator[Any]:
    """Yield the catalog's rows as frames of at most `BATCH_ROWS`, at least one, sorted by source and row id."""
    reader = con.sql(_statement("rows")).to_arrow_reader(BATCH_ROWS)
    empty = True
    for batch in reader:
        empty = False
        yield batch.to_pandas()
    if empty:
        yield reader.schema.empty_table().to_pandas()


def key_frame(con: duckdb.DuckDBPyConnection) -> Any:
    """Return the keys of all rows at once: what must be unique can only be seen whole."""
    query = "SELECT image_id, source, source_row_id FROM catalog ORDER BY source, source_row_id, image_id"
    return con.sql(query).to_arrow_table().to_pandas()


def count_frame(con: duckdb.DuckDBPyConnection, workspace: Workspace) -> Any:
    """Return one row of totals: see counts.sql."""
    given = {"rows_in_sources": rows_in_sources(workspace)}
    return con.sql(_statement("counts"), params=given).to_arrow_table().to_pandas()


def rows_in_sources(workspace: Workspace) -> int | None:
    """Return how many rows (and files without one) the sources held when fingerprinted; None if they were not."""
    if not workspace.sources.is_file():
        return None
    sources = json.loads(workspace.sources.read_text(encoding="utf-8"))["sources"]
    return sum(int(s["rows"]) + int(s["files_without_row"]) for s in sources.values())


def _statement(name: str) -> str:
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
