"""The catalog with `split` and `dup_cluster` set, in the catalog's own order: read once, written once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.stratify.grouping import SQL, cuts
from pipelines.tables.query import ROW_GROUP, ahead, statement
from schemas.catalog import CatalogRow
from schemas.params import StratifyParams
from schemas.table import arrow_schema


def split_pieces(con: duckdb.DuckDBPyConnection, files: Sequence[str], params: StratifyParams) -> Iterator[pa.Table]:
    """Yield the catalog's kept rows in pieces of about `ROW_GROUP`, by the tables of `group_owners`.

    DuckDB sees only the three columns of ids of one piece; the other columns pass by as they were read. So memory
    stays flat, and the rows keep their order without a sort.
    """
    train, validation = cuts(params.split)
    given = {"seed": str(params.seed), "train_below": train, "validation_below": validation}
    query = statement(SQL, "splits")
    for piece in ahead(_pieces(files)):
        rows = pa.array(np.arange(piece.num_rows, dtype=np.int64))
        con.register("piece", piece.select(["image_id", "patient_id", "lesion_id"]).append_column("row", rows))
        answer = con.sql(query, params=given).to_arrow_table()
        con.unregister("piece")
        kept = piece if answer.num_rows == piece.num_rows else piece.take(answer["row"])
        for name in ("split", "dup_cluster"):
            kept = kept.set_column(kept.schema.get_field_index(name), kept.schema.field(name), answer[name])
        yield kept


def _pieces(files: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the files' rows in order, cut every `ROW_GROUP` rows whatever the files' own sizes are."""
    waiting = arrow_schema(CatalogRow).empty_table()
    for file in files:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(ROW_GROUP):
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(waiting.schema)])
                while waiting.num_rows >= ROW_GROUP:
                    yield waiting.slice(0, ROW_GROUP)
                    waiting = waiting.slice(ROW_GROUP)
    if waiting.num_rows:
        yield waiting
