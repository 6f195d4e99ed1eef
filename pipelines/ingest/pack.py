"""Tables of any length into Parquet files of one length, so that a sparse source does not leave many tiny files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa

from schemas.table import Row, arrow_schema, write_table

ROW_GROUP: Final = 128
"""Rows a group: a reader of one image reads this many."""


class Packer:
    """Writes `<folder>/<source>-00000.parquet`, -00001, ... of `size` rows each, and at least one, maybe empty."""

    def __init__(self, folder: Path, source: str, row: type[Row], size: int) -> None:
        self._folder = folder
        self._source = source
        self._size = size
        self._pending = arrow_schema(row).empty_table()
        self._written = 0

    def add(self, table: pa.Table) -> None:
        """Take rows, and write every file that is full."""
        self._pending = pa.concat_tables([self._pending, table])
        while self._pending.num_rows >= self._size:
            self._write(self._pending.slice(0, self._size))
            self._pending = self._pending.slice(self._size)

    def close(self) -> None:
        """Write what is left. A source with no rows leaves one empty file: the table exists, it holds nothing."""
        if self._pending.num_rows or not self._written:
            self._write(self._pending)

    def _write(self, table: pa.Table) -> None:
        path = self._folder / f"{self._source}-{self._written:05d}.parquet"
        # Chunks follow the shards; one chunk makes the bytes depend on the rows alone.
        write_table(table.combine_chunks(), path, row_group_size=ROW_GROUP)
        self._written += 1
