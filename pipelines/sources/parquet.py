"""A Parquet table as text rows, like a CSV: only the columns asked for are read, so embedded pixels cost nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sources.interface import Fault
from pipelines.sources.table import RawRow, RawTable, check_header, require_table
from pipelines.sources.text import LONGEST_FIELD
from schemas.errors import SourceError

BATCH: Final = 8192


def read_parquet(path: Path, columns: Sequence[str], source: str) -> RawTable:
    """Return the table's rows with every value as text, null as empty.

    Raises:
        SourceError: no such file, not Parquet, no rows, a column is missing or there twice, or holds lists or bytes.
    """
    where = f"sources.use.{source}: {path.name}"
    require_table(path, source)
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            check_header(schema.names, columns, where)
            _check_types(schema, columns, where)
            rows: list[RawRow] = []
            for batch in file.iter_batches(batch_size=BATCH, columns=list(columns)):
                rows += [_raw_row(len(rows) + n, values) for n, values in enumerate(batch.to_pylist(), start=1)]
        identity = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())[:200]
        raise SourceError(f"{where} cannot be read ({said}); needs a Parquet file; write it again") from None
    if not rows:
        raise SourceError(f"{where} has 0 rows; needs 1 or more; write the table again")
    return RawTable(path.name, rows, columns, {path.name: identity})


def _check_types(schema: pa.Schema, columns: Sequence[str], where: str) -> None:
    for name in columns:
        kind = schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise SourceError(f"{where} column {name} holds {kind}; needs text or numbers; name another column")


def _raw_row(number: int, cells: dict[str, Any]) -> RawRow:
    place = f"row {number}"
    values = {name: _text(value) for name, value in cells.items()}
    why = None
    if any(len(text) > LONGEST_FIELD for text in values.values()):
        values = {name: text[:1000] for name, text in values.items()}
        why = f"{place} holds a value over {LONGEST_FIELD:,} characters; needs shorter ones; correct the row"
    elif any("\0" in text for text in values.values()):
        why = f"{place} holds a NUL byte; needs text; correct the row"
    return RawRow(place, values, Fault("row_malformed", why) if why else None)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
