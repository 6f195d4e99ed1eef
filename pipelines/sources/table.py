"""A publisher's tables as text: columns checked, damaged rows marked instead of guessed, several made one."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.sources.interface import Fault
from pipelines.sources.text import LONGEST_FIELD, BoundedText
from schemas.errors import SourceError

csv.field_size_limit(LONGEST_FIELD)  # the interpreter's own default, said here because it is relied upon


@dataclass(frozen=True)
class RawRow:
    """One row as text, or why it is known to stay out."""

    place: str
    """Where the row ends, e.g. `line 7`; the header is line 1."""
    values: dict[str, str]
    fault: Fault | None = None


@dataclass(frozen=True)
class RawTable:
    """Rows, and the files they come from."""

    name: str
    rows: list[RawRow]
    columns: Sequence[str]
    files: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Bytes and sha256 by file name."""


def read_csv(path: Path, columns: Sequence[str], source: str) -> RawTable:
    """Return the table's rows; blank lines are not rows.

    Args:
        path: the file.
        columns: those the adapter needs; others are kept in the row.
        source: the source's name in params.yaml, for messages.

    Raises:
        SourceError: no such file, not UTF-8, not CSV, no rows, or a column is missing or there twice.
    """
    where = f"sources.use.{source}: {path.name}"
    require_table(path, source)
    text = BoundedText(path, where)
    # Strict: otherwise a quote that is never closed makes one row of all that follow it, without a word.
    reader = csv.reader(iter(text), strict=True)
    rows: list[RawRow] = []
    begins = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        check_header(header, columns, where)
        begins = reader.line_num + 1
        for cells in reader:
            if cells:
                rows.append(_raw_row(reader.line_num, header, cells))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise SourceError(
            f"{where}: the row that begins on line {begins} cannot be read up to line {reader.line_num}: {error}; "
            "needs a CSV; look for an unclosed quote"
        ) from None
    if not rows:
        raise SourceError(f"{where} has a header and 0 rows; needs 1 or more; fetch the table again")
    return RawTable(path.name, rows, header, {path.name: text.identity})


def require_table(path: Path, source: str) -> None:
    """Check that a table is there and is a file.

    Raises:
        SourceError: it is not.
    """
    where = f"sources.use.{source}: {path.name}"
    if path.is_dir():
        raise SourceError(f"{where} is a folder; needs the publisher's table, a file; put it there")
    if not path.is_file():
        present = ", ".join(sorted(p.name for p in path.parent.iterdir())[:8]) or "nothing"
        raise SourceError(f"{where} is missing, the folder holds {present}; needs the publisher's table; put it there")


def check_header(header: Sequence[str], columns: Sequence[str], where: str) -> None:
    """Check a table's columns.

    Raises:
        SourceError: one is missing or there twice.
    """
    missing = [c for c in columns if c not in header]
    if missing:
        raise SourceError(
            f"{where} has columns {_shortened(', '.join(header)) or 'none'}; needs {', '.join(missing)} too; "
            "use the publisher's table or rename the columns"
        )
    twice = sorted({c for c in header if header.count(c) > 1})
    if twice:
        raise SourceError(f"{where} has column {_shortened(', '.join(twice))} twice; needs it once; remove one")


def concat(tables: Sequence[RawTable]) -> RawTable:
    """Return several tables of one kind as one; where there are several, a row's place names its table."""
    if len(tables) == 1:
        return tables[0]
    rows = [replace(row, place=f"{table.name} {row.place}") for table in tables for row in table.rows]
    files = {name: identity for table in tables for name, identity in table.files.items()}
    return RawTable(" or ".join(files), rows, tables[0].columns, files)


def join(main: RawTable, other: RawTable, key: str) -> RawTable:
    """Return the main table's rows with the other's columns; empty where the other has no row for a key.

    Rows of the other table that cannot be joined come last, as faults: no row of `main` has their key, an earlier row
    has it already, or they are damaged. Nothing is lost.
    """
    by_key: dict[str, RawRow] = {}
    left: list[RawRow] = []
    known = {row.values.get(key, "").strip() for row in main.rows}
    for row in other.rows:
        place, name = f"{other.name} {row.place}", row.values.get(key, "").strip()
        if row.fault is None and name in known and name not in by_key:
            by_key[name] = row
        else:
            left.append(replace(row, place=place, fault=row.fault or _unjoined(key, name, main, by_key)))
    blank = dict.fromkeys(other.columns, "")
    rows = [_joined(row, by_key.get(row.values.get(key, "").strip()), blank) for row in main.rows]
    return RawTable(main.name, rows + left, [*main.columns, *other.columns], {**main.files, **other.files})


def expand(table: RawTable, split: Callable[[RawRow], list[RawRow]]) -> RawTable:
    """Return the table with every row replaced by the rows it stands for."""
    return replace(table, rows=[part for row in table.rows for part in split(row)])


def _joined(row: RawRow, other: RawRow | None, blank: Mapping[str, str]) -> RawRow:
    return replace(row, values={**blank, **(other.values if other else {}), **row.values})


def _unjoined(key: str, name: str, main: RawTable, by_key: Mapping[str, RawRow]) -> Fault:
    if name in by_key:
        return Fault("duplicate_id", f"{key} {name!r} is there twice; needs to be unique; drop one row")
    return Fault("row_without_label", f"no row of {main.name} has {key} {name!r}; needs one; add it or drop this row")


def _raw_row(line: int, header: Sequence[str], cells: Sequence[str]) -> RawRow:
    values = dict(zip(header, cells, strict=False))
    why = None
    if len(cells) != len(header):
        values |= {f"cell {n + 1}": cells[n] for n in range(len(header), len(cells))}
        why = f"line {line} has {len(cells)} cells, the header {len(header)}; correct the line"
    elif any("\0" in cell for cell in cells):
        why = f"line {line} holds a NUL byte; needs text; correct the line"
    return RawRow(f"line {line}", values, Fault("row_malformed", why) if why else None)


def _shortened(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:400]}..."
