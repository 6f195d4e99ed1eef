"""A publisher's CSV, read whole: its columns checked, its rows as text, damaged rows marked instead of guessed."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import SourceError


@dataclass(frozen=True)
class RawRow:
    """One row as text, or why it is not one."""

    line: int
    """Where the row ends in the file, 1 is the header."""
    values: dict[str, str]
    damage: str | None = None


@dataclass(frozen=True)
class RawTable:
    """The rows of one CSV file and its identity."""

    name: str
    rows: list[RawRow]
    sha256: str
    size: int


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
    if not path.is_file():
        present = ", ".join(sorted(p.name for p in path.parent.iterdir())[:8]) or "nothing"
        raise SourceError(f"{where} is missing, the folder holds {present}; needs the publisher's table; put it there")
    data = path.read_bytes()
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        header = next(reader, [])
        _check_header(header, columns, where)
        rows = [_raw_row(reader.line_num, header, cells) for cells in reader if cells]
    except UnicodeDecodeError as error:
        raise SourceError(f"{where} is not UTF-8 at byte {error.start}; needs UTF-8; save it again as UTF-8") from None
    except csv.Error as error:
        raise SourceError(f"{where} line {reader.line_num}: {error}; needs a CSV; look for an unclosed quote") from None
    if not rows:
        raise SourceError(f"{where} has a header and 0 rows; needs 1 or more; fetch the table again")
    return RawTable(path.name, rows, hashlib.sha256(data).hexdigest(), len(data))


def _check_header(header: Sequence[str], columns: Sequence[str], where: str) -> None:
    missing = [c for c in columns if c not in header]
    if missing:
        raise SourceError(
            f"{where} has columns {', '.join(header) or 'none'}; needs {', '.join(missing)} too; "
            "use the publisher's table or rename the columns"
        )
    twice = sorted({c for c in header if header.count(c) > 1})
    if twice:
        raise SourceError(f"{where} has column {', '.join(twice)} twice; needs it once; remove one")


def _raw_row(line: int, header: Sequence[str], cells: Sequence[str]) -> RawRow:
    values = dict(zip(header, cells, strict=False))
    if len(cells) != len(header):
        values |= {f"cell {n + 1}": cells[n] for n in range(len(header), len(cells))}
        return RawRow(line, values, f"line {line} has {len(cells)} cells, the header {len(header)}; correct the line")
    return RawRow(line, values)
