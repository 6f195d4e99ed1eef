"""What exact copies say: their rows stayed out at ingest, and may name another lesion than the row that entered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.compute as pc

from pipelines.tables.query import copy_files
from schemas.catalog import CatalogRow, CopyRow
from schemas.paths import Workspace
from schemas.table import from_table, read_table


def disputed_copies(workspace: Workspace, catalog: Sequence[Path]) -> dict[str, list[CopyRow]]:
    """Return all exact copies, by image_id, of every catalog row that one of its copies contradicts in the lesion.

    Usually none: only these become rows in memory, of the others two columns are read.

    Raises:
        WorkspaceError: ingest has not said which copies there are.
        CheckFailed: a file has other columns than declared.
    """
    files = [Path(f) for f in copy_files(workspace, "dedupe")]
    copies = read_table(files, CopyRow, columns=["image_id", "lesion"])
    entered = read_table(list(catalog), CatalogRow, columns=["image_id", "lesion"])
    first = entered["lesion"].take(pc.index_in(copies["image_id"], entered["image_id"].combine_chunks()))
    disputed = pc.unique(copies.filter(pc.not_equal(copies["lesion"], first))["image_id"])
    found: dict[str, list[CopyRow]] = {}
    for file in files if len(disputed) else ():
        table = read_table(file, CopyRow)
        for row in from_table(table.filter(pc.is_in(table["image_id"], value_set=disputed)), CopyRow):
            found.setdefault(row.image_id, []).append(row)
    return found


def with_alone(
    groups: Sequence[list[int]], disputed: Mapping[str, object], place: Mapping[str, int]
) -> list[list[int]]:
    """Return the groups, and one of its own for each disputed picture that is in none, in order."""
    grouped = {member for group in groups for member in group}
    return sorted([*groups, *([place[name]] for name in disputed if place[name] not in grouped)])
