"""The pixels of a release as Parquet that `datasets`, DuckDB and pyarrow read without any code of ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from pipelines.release.inputs import Inputs, read_sql
from schemas.release import IndexRow, ReleaseImageRow
from schemas.table import arrow_schema, write_table
from schemas.words import Kind, Split

PARTS: Final = (
    (Split.TRAIN, Kind.REAL),
    (Split.TRAIN, Kind.SYNTHETIC),
    (Split.VALIDATION, Kind.REAL),
    (Split.TEST, Kind.REAL),
)
"""What may be in a release: synthetic images are for training alone."""

_WHERE: Final = pa.schema([("image_id", pa.string()), ("shard", pa.string()), ("sha256", pa.string())])


def image_schema() -> pa.Schema:
    """Return the shards' schema with the metadata by which Hugging Face `datasets` knows that `image` is a picture.

    Columns are nullable here although nothing is null: `datasets` has no other fields, and believes the metadata only
    where the field is exactly its own; a `not null` image would be read as a plain struct.
    """
    schema = pa.schema([field.with_nullable(True) for field in arrow_schema(ReleaseImageRow)])
    features: dict[str, Any] = {}
    for field in schema:
        picture = field.name == "image"
        features[field.name] = {"_type": "Image"} if picture else {"dtype": str(field.type), "_type": "Value"}
    return schema.with_metadata({b"huggingface": json.dumps({"info": {"features": features}}).encode()})


def write_shards(inputs: Inputs, folder: Path) -> pa.Table:
    """Write data/{split}-{kind}-NNNNN.parquet under `folder`; return where each image went: image_id, shard, sha256.

    One shard is in memory at a time. Images whose licence does not allow `share` get a sha256 and no shard.
    """
    release = inputs.params.release
    schema = image_schema()
    where = [_withheld(inputs)]
    for split, kind in PARTS:
        reader = inputs.db.sql(read_sql("pixels"), params={"split": split, "kind": kind}).to_arrow_reader(
            release.shard_rows
        )
        for number, rows in enumerate(_cut(reader, release.shard_rows)):
            name = f"data/{split}-{kind}-{number:05d}.parquet"
            table = pa.Table.from_arrays([rows[n].cast(schema.field(n).type) for n in schema.names], schema=schema)
            write_table(table, folder / name, row_group_size=release.row_group_rows)
            where.append(_located(table, name))
    return pa.concat_tables(where)


def write_index(inputs: Inputs, where: pa.Table, folder: Path) -> None:
    """Write index.parquet, one IndexRow an image, by kind, split and image_id."""
    schema = arrow_schema(IndexRow)
    inputs.db.register("located", where)
    found = inputs.db.sql("SELECT * FROM released JOIN located USING (image_id) ORDER BY kind, split, image_id")
    write_table(found.to_arrow_table().select(schema.names).cast(schema), folder / "index.parquet")


def _cut(reader: pa.RecordBatchReader, rows: int) -> Iterator[pa.Table]:
    """Yield tables of exactly `rows` rows, the last one shorter; the reader's own batches may have any length."""
    waiting = reader.schema.empty_table()
    for batch in reader:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
        while waiting.num_rows >= rows:
            yield waiting.slice(0, rows)
            waiting = waiting.slice(rows)
    if waiting.num_rows:
        yield waiting


def _located(table: pa.Table, shard: str | None) -> pa.Table:
    pictures = pa.chunked_array(table["image"]).combine_chunks().field("bytes")
    digests = [hashlib.sha256(picture.as_py()).hexdigest() for picture in pictures]
    return pa.table(
        [table["image_id"].cast(pa.string()), pa.array([shard] * len(digests), pa.string()), digests], schema=_WHERE
    )


def _withheld(inputs: Inputs) -> pa.Table:
    query = (
        "SELECT r.image_id, p.image FROM released r JOIN pixels p USING (image_id) "
        "WHERE NOT r.shared ORDER BY r.image_id"
    )
    parts = [_located(rows, None) for rows in _cut(inputs.db.sql(query).to_arrow_reader(1000), 1000)]
    return pa.concat_tables(parts) if parts else _WHERE.empty_table()
