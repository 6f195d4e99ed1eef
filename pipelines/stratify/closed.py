"""Images whose licence forbids derived works: they may be measured with, so they are `test`, and never learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.tables.query import connect, statement
from schemas.paths import Workspace
from schemas.words import Split

SQL: Final = Path(__file__).parent
LINKS: Final = ("patient_id", "lesion_id", "dup_cluster")
"""What must lie in one split together."""


def keep_from_learning(workspace: Workspace, catalog: Path) -> int:
    """Return how many images were put into `test`, rewriting the catalog with splits in place; usually 0.

    Every image of a licence without `derive`, and every image that shares a patient, lesion or duplicate cluster with
    one, through any number of steps: otherwise a patient would lie on both sides. Those are the only images that adding
    a source can move.
    """
    with connect(workspace) as con:
        con.execute(statement(SQL, "closed"), {"catalog": str(catalog)})
        found = -1
        while found != (found := _count(con)) and found:
            for link in LINKS:
                con.execute(_SPREAD.format(link=link), {"catalog": str(catalog)})
        closed = con.sql("SELECT image_id FROM closed").to_arrow_table()["image_id"].combine_chunks()
    if len(closed):
        _rewrite(catalog, closed)
    return len(closed)


_SPREAD: Final = """
INSERT INTO closed
SELECT image_id, patient_id, lesion_id, dup_cluster FROM read_parquet($catalog)
WHERE {link} IN (SELECT {link} FROM closed WHERE {link} IS NOT NULL)
    AND image_id NOT IN (SELECT image_id FROM closed)
"""


def _count(con: duckdb.DuckDBPyConnection) -> int:
    return int(con.execute("SELECT count(*) FROM closed").fetchall()[0][0])


def _rewrite(catalog: Path, closed: pa.Array) -> None:
    partial = catalog.with_name(f"{catalog.name}.closed")
    with pq.ParquetFile(catalog) as source, pq.ParquetWriter(partial, source.schema_arrow, compression="zstd") as out:
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            split = pc.if_else(pc.is_in(table["image_id"], closed), Split.TEST.value, table["split"])
            position = table.schema.get_field_index("split")
            out.write_table(table.set_column(position, table.schema.field(position), split))
    partial.replace(catalog)
