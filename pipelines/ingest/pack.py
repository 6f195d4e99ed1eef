"""Tables of any length into Parquet files of much the same length: a sparse source leaves no heap of tiny files.

A file that is long enough already becomes one of them as it is, so that most pixels are written once.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import pyarrow as pa

from schemas.table import Row, arrow_schema, write_table

ROW_GROUP: Final = 128
"""Rows a group: a reader of one image reads this many."""


class Packer:
    """Writes `<folder>/<source>-00000.parquet`, -00001, ... of size / 2 to `size` rows; fewer in the last.

    There is at least one file, maybe empty. Which rows make a file depends on the rows alone.
    """

    def __init__(self, folder: Path, source: str, row: type[Row], size: int) -> None:
        self._folder = folder
        self._source = source
        self._size = size
        self._pending = arrow_schema(row).empty_table()
        self._written = 0

    def takes(self, rows: int) -> bool:
        """Return whether a file of that many rows would be taken as it is: it is long enough, and so is what waits."""
        return 2 * rows >= self._size >= rows and not 0 < 2 * self._pending.num_rows < self._size

    def take(self, file: Path) -> None:
        """Make a file one of the results. It must be one that `takes` is true of, written in groups of `ROW_GROUP`."""
        if self._pending.num_rows:
            self._write(self._pending)
            self._pending = self._pending.slice(0, 0)
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._next()
        try:
            os.link(file, target)
        except OSError:  # not every file system has links
            shutil.copyfile(file, target)

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
        # Chunks follow the shards; one chunk makes the bytes depend on the rows alone.
        write_table(table.combine_chunks(), self._next(), row_group_size=ROW_GROUP)

    def _next(self) -> Path:
        self._written += 1
        return self._folder / f"{self._source}-{self._written - 1:05d}.parquet"
