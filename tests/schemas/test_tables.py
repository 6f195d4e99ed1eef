"""Tables: the declared columns are as written down, rows survive the file, and nobody reads a half-written one.

After a wanted change: `python tests/schemas/test_tables.py` writes golden/tables.txt anew; read the difference.
"""

from __future__ import annotations

import typing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import annotated_types
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.errors import CheckFailed
from schemas.jsonschema import row_types
from schemas.table import (
    Float32,
    Image,
    Int8,
    Row,
    arrow_schema,
    from_table,
    read_rows,
    read_table,
    to_table,
    write_rows,
    write_table,
    write_text,
)

GOLDEN = Path(__file__).parent / "golden" / "tables.txt"
TABLES = [kind for kind in row_types() if kind.__name__.endswith("Row")]


def written_down() -> str:
    """Return every table's columns as text."""
    parts = []
    for kind in TABLES:
        lines = [f"    {f.name:<24}{f.type}{'' if f.nullable else ' not null'}" for f in arrow_schema(kind)]
        parts.append("\n".join([kind.__name__, *lines]))
    return "\n\n".join(parts) + "\n"


def test_columns_are_as_written_down() -> None:
    assert written_down() == GOLDEN.read_text(encoding="utf-8"), "changed; see this file's docstring"


def values(info: FieldInfo) -> st.SearchStrategy[Any]:
    """Return a strategy for one field, inside its declared limits and its Arrow type."""
    annotation, metadata = info.annotation, list(info.metadata)
    optional = type(None) in typing.get_args(annotation)
    if optional:
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *inner = typing.get_args(annotation)
        metadata += inner
    found = _plain(annotation, metadata)
    return st.none() | found if optional else found


def _plain(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    low = next((m.ge for m in metadata if isinstance(m, annotated_types.Ge)), None)
    low = next((m.gt + 1 for m in metadata if isinstance(m, annotated_types.Gt)), low)
    high = next((m.le for m in metadata if isinstance(m, annotated_types.Le)), None)
    arrow = next((m for m in metadata if isinstance(m, pa.DataType)), None)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        bits = arrow.bit_width if arrow else 64
        least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        return st.integers(least if low is None else low, most if high is None else high)
    if annotation is float:
        return st.floats(low, high, allow_nan=False, width=32 if arrow == pa.float32() else 64)
    if annotation is datetime:
        return st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
    if typing.get_origin(annotation) is list:
        return st.lists(_plain(typing.get_args(annotation)[0], []), max_size=3)
    if issubclass(annotation, StrEnum):
        return st.sampled_from(list(annotation))
    if annotation is Image:
        return st.builds(Image, bytes=st.binary(max_size=8), path=st.text(max_size=5))
    assert annotation is str, annotation
    pattern = next((found for m in metadata if (found := getattr(m, "pattern", None))), None)
    if pattern:
        return st.from_regex(pattern, fullmatch=True)
    fewest = next((m.min_length for m in metadata if isinstance(m, annotated_types.MinLen)), 0)
    return st.text(st.characters(codec="utf-8"), min_size=fewest, max_size=12)


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_survive_the_file(kind: type[Row], data: st.DataObject, tmp_path: Path) -> None:
    one = st.fixed_dictionaries({name: values(info) for name, info in kind.model_fields.items()}).map(
        kind.model_validate
    )
    rows = data.draw(st.lists(one, max_size=4))
    write_rows(rows, kind, tmp_path / "rows.parquet")
    assert read_rows(tmp_path / "rows.parquet", kind) == rows
    assert pq.read_schema(tmp_path / "rows.parquet").equals(arrow_schema(kind))


class Sample(Row):
    """A small table."""

    name: str
    fst: Int8 | None = Field(ge=1, le=6)
    ita: Float32
    tags: list[str]


ROWS = [Sample(name="a", fst=None, ita=1.5, tags=[]), Sample(name="b", fst=6, ita=-0.25, tags=["x", "y"])]


def test_arrow_types_follow_the_annotations() -> None:
    assert str(arrow_schema(Sample)) == (
        "name: string not null\nfst: int8\nita: float not null\n"
        "tags: list<item: string> not null\n  child 0, item: string"
    )


@pytest.mark.parametrize(
    "changes", [{"fst": 0}, {"fst": 7}, {"name": None}, {"colour": "red"}, {"ita": "warm"}], ids=lambda c: next(iter(c))
)
def test_a_row_outside_its_declaration_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate({**ROWS[0].model_dump(), **changes})


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ROWS[0].name = "c"  # type: ignore[misc]


def test_no_rows_are_a_table_with_the_same_columns() -> None:
    assert to_table([], Sample).schema == arrow_schema(Sample)
    assert from_table(to_table([], Sample), Sample) == []


def test_a_folder_is_read_in_order_and_without_its_partial_files(tmp_path: Path) -> None:
    write_rows(ROWS[1:], Sample, tmp_path / "b.parquet")
    write_rows(ROWS[:1], Sample, tmp_path / "a.parquet")
    (tmp_path / ".c.parquet").write_bytes(b"half")
    (tmp_path / ".c.parquet.partial").write_bytes(b"half")
    assert read_rows(tmp_path, Sample) == ROWS
    assert read_table(tmp_path, Sample, columns=["ita"]).to_pydict() == {"ita": [1.5, -0.25]}


def test_an_empty_folder_is_an_empty_table(tmp_path: Path) -> None:
    assert read_rows(tmp_path, Sample) == []
    assert read_table(tmp_path, Sample, columns=["ita"]).schema.names == ["ita"]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    write_rows(ROWS, Sample, tmp_path / "a.parquet")
    with pytest.raises(CheckFailed) as caught:
        read_table(tmp_path / "a.parquet", QuarantineRow)
    assert str(caught.value) == (
        f"{tmp_path / 'a.parquet'}: columns ['name', 'fst', 'ita', 'tags'] are not the declared ones "
        "['source', 'source_row_id', 'code', 'message', 'raw']; rebuild the stage that wrote it"
    )


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_rows(ROWS, Sample, path)
    null = pa.table({"name": pa.array([None], pa.string())}, schema=pa.schema([pa.field("name", "string", False)]))
    with pytest.raises(pa.ArrowInvalid, match="non-nullable"):
        write_table(null, path)
    assert read_rows(path, Sample) == ROWS


def test_text_is_utf8_and_replaced_whole(tmp_path: Path) -> None:
    write_text("Fréchet\n", tmp_path / "new" / "a.txt")
    write_text("é\n", tmp_path / "new" / "a.txt")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\xc3\xa9\n"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_the_catalog_says_which_columns_may_be_unknown() -> None:
    unknown = {f.name for f in arrow_schema(CatalogRow) if f.nullable}
    assert {"fst", "fst_source", "ita_deg", "patient_id", "lesion_id", "split"} <= unknown
    assert not unknown & {"image_id", "source", "source_row_id", "modality", "lesion", "licence"}


if __name__ == "__main__":
    GOLDEN.write_text(written_down(), encoding="utf-8")


def test_pixels_are_not_compressed_twice_and_everything_else_is(tmp_path: Path) -> None:
    rows = [PixelRow(image_id=str(n), image=Image(bytes=bytes([n]) * 99, path=f"{n}.png"), mask=None) for n in range(9)]
    write_rows(rows, PixelRow, tmp_path / "t.parquet")
    group = pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    codecs = {c.path_in_schema: c.compression for c in columns}
    assert codecs == {
        "image_id": "ZSTD", "image.bytes": "UNCOMPRESSED", "image.path": "ZSTD",
        "mask.bytes": "UNCOMPRESSED", "mask.path": "ZSTD",
    }  # fmt: skip
    assert not next(c for c in columns if c.path_in_schema == "image.bytes").is_stats_set
    assert read_rows(tmp_path / "t.parquet", PixelRow) == rows
