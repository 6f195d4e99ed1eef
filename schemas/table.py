"""One declaration per table: a frozen pydantic model is the row, and its Arrow schema is derived from it."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from schemas.disk import room
from schemas.errors import CheckFailed, DiskFullError

R = TypeVar("R", bound="Row")

Int8 = Annotated[int, pa.int8()]
Int32 = Annotated[int, pa.int32()]
Float32 = Annotated[float, pa.float32()]

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""Pixels as Hugging Face `datasets` stores them: an encoded file and a name."""


class Image(BaseModel):
    """One encoded image inside a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: bytes
    path: str


class Row(BaseModel):
    """Base of every row type: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_ARROW: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    datetime: pa.timestamp("us", tz="UTC"),
    Image: IMAGE,
}


def _arrow_type(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[pa.DataType, bool]:
    """Return the Arrow type for a field's annotation and whether it may be null."""
    for extra in metadata:
        if isinstance(extra, pa.DataType):
            return extra, _is_optional(annotation)
    if _is_optional(annotation):
        inner = next(a for a in typing.get_args(annotation) if a is not type(None))
        return _arrow_type(inner)[0], True
    if typing.get_origin(annotation) is Annotated:
        base, *extras = typing.get_args(annotation)
        return _arrow_type(base, extras)
    if typing.get_origin(annotation) in (list, tuple):
        return pa.list_(_arrow_type(typing.get_args(annotation)[0])[0]), False
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return pa.string(), False
    return _ARROW[annotation], False


def _is_optional(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return origin in (typing.Union, types.UnionType) and type(None) in typing.get_args(annotation)


def arrow_schema(row: type[Row]) -> pa.Schema:
    """Return the Arrow schema of a table whose rows are `row`; field order is declaration order."""
    fields = []
    for name, info in row.model_fields.items():
        dtype, nullable = _arrow_type(info.annotation, info.metadata)
        fields.append(pa.field(name, dtype, nullable=nullable))
    return pa.schema(fields)


def to_table(rows: Iterable[R], row: type[R]) -> pa.Table:
    """Return `rows` as an Arrow table with the declared schema (also when there are none)."""
    return pa.Table.from_pylist([r.model_dump() for r in rows], schema=arrow_schema(row))


def from_table(table: pa.Table, row: type[R]) -> list[R]:
    """Return the table's rows as models; every value is checked."""
    return [row.model_validate(r) for r in table.to_pylist()]


@contextmanager
def _whole(path: Path, needed: int | None) -> Iterator[IO[bytes]]:
    """Yield a file that becomes `path` when all went well; a disk without room for it is a DiskFullError."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with room(path, needed):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(path)
    except DiskFullError:
        partial.unlink(missing_ok=True)  # what came of it takes room that is needed
        raise


def leaf_paths(schema: pa.Schema) -> list[str]:
    """Return the Parquet path of every leaf column, e.g. `image.bytes` and `licence_allows.list.element`."""
    found: list[str] = []

    def walk(prefix: str, dtype: pa.DataType) -> None:
        if pa.types.is_struct(dtype):
            for i in range(dtype.num_fields):
                walk(f"{prefix}.{dtype.field(i).name}", dtype.field(i).type)
        elif pa.types.is_list(dtype):
            walk(f"{prefix}.list.element", dtype.value_type)
        else:
            found.append(prefix)

    for field in schema:
        walk(field.name, field.type)
    return found


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """Return how columns are written. An encoded image is compressed already: nothing more is gained or said of it."""
    leaves = leaf_paths(schema)
    plain = [leaf for leaf in leaves if not leaf.endswith(".bytes")]
    return {
        "compression": {leaf: "zstd" if leaf in plain else "none" for leaf in leaves},
        "use_dictionary": plain,
        "write_statistics": plain,
    }


def write_table(table: pa.Table, path: Path, *, row_group_size: int | None = None) -> None:
    """Write Parquet so that a reader sees the old file or the whole new one: temporary name, fsync, rename."""
    with _whole(path, table.nbytes) as handle:
        pq.write_table(table, handle, row_group_size=row_group_size, **_encoding(table.schema))


@contextmanager
def row_writer(row: type[R], path: Path, row_group_size: int) -> Iterator[Callable[[R], None]]:
    """Give a function that adds a row to `path`, which is there, whole, once the block ends without an error.

    No more than `row_group_size` rows are in memory at a time.
    """
    schema, waiting = arrow_schema(row), list[R]()
    with _whole(path, None) as handle, pq.ParquetWriter(handle, schema, **_encoding(schema)) as file:

        def flush() -> None:
            file.write_table(to_table(waiting, row), row_group_size=row_group_size)
            waiting.clear()

        def add(one: R) -> None:
            waiting.append(one)
            if len(waiting) == row_group_size:
                flush()

        yield add
        if waiting:
            flush()


def write_rows(rows: Iterable[R], row: type[R], path: Path, *, row_group_size: int | None = None) -> None:
    """Write `rows` to `path` under the declared schema, atomically."""
    write_table(to_table(rows, row), path, row_group_size=row_group_size)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file so that a reader sees the old one or the whole new one: temporary name, fsync, rename."""
    with _whole(path, len(data)) as handle:
        handle.write(data)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text so that a reader sees the old file or the whole new one."""
    write_bytes(text.encode(), path)


def read_table(paths: Path | Sequence[Path], row: type[Row], columns: Sequence[str] | None = None) -> pa.Table:
    """Return one table from a Parquet file, a list of them, or every `*.parquet` in a folder (sorted by name).

    Raises:
        CheckFailed: a file's columns are not the declared ones.
    """
    expected = arrow_schema(row)
    files = [paths] if isinstance(paths, Path) else list(paths)
    if len(files) == 1 and files[0].is_dir():
        files = sorted(p for p in files[0].glob("*.parquet") if not p.name.startswith("."))
    parts = []
    for file in files:
        found = pq.read_schema(file)
        if not found.remove_metadata().equals(expected):
            raise CheckFailed(
                f"{file}: columns {found.names} are not the declared ones {expected.names}; rebuild the stage that wrote it"
            )
        parts.append(pq.read_table(file, columns=list(columns) if columns else None))
    if parts:
        return pa.concat_tables(parts)
    empty = expected.empty_table()
    return empty.select(list(columns)) if columns else empty


def read_rows(paths: Path | Sequence[Path], row: type[R]) -> list[R]:
    """Return the rows of a Parquet file or folder as models."""
    return from_table(read_table(paths, row), row)
