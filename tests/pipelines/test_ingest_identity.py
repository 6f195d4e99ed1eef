"""Rows in = catalog + quarantine, whatever the table says and whatever lies in the folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import COLUMNS, pad_params, photo, png, run_ingest

from schemas.catalog import CatalogRow, QuarantineRow
from schemas.errors import SourceError
from schemas.paths import Workspace
from schemas.table import read_rows

GOOD = [png(photo(n)) for n in range(3)]
FILES = st.dictionaries(
    st.sampled_from(["a.png", "b.png", "c.PNG", "d.jpg", "notes.txt", "é.png", "tiny.png"]),
    st.sampled_from([*GOOD, b"", b"text", GOOD[0][:200], png(photo(9, (4, 4))), b"\xff\xd8\xff\xe0broken"]),
    min_size=1,
)
CELL = st.sampled_from(["", "1", "3.0", "9", "NEV", "MEL", "WART", "FEMALE", "male", "?", "ü\u2028", "x\0y", "é"])
NAME = st.sampled_from(["a.png", "b.png", "c.png", "d.jpg", "é.png", "tiny.png", "../a.png", "/a.png", "", "a.png "])
LINE = st.tuples(CELL, CELL, CELL, CELL, CELL, CELL, st.sampled_from(["NEV", "MEL", "wart", ""]), NAME).map(list)
BROKEN = st.lists(CELL, min_size=1, max_size=11)


def quoted(cells: list[str]) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(st.one_of(LINE, LINE, LINE, BROKEN), min_size=1, max_size=12), files=FILES)
def test_rows_in_are_catalog_and_quarantine(lines: list[list[str]], files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pad/images").mkdir(parents=True)
        (root / "pad/metadata.csv").write_text("\n".join([quoted(list(COLUMNS)), *map(quoted, lines)]), "utf-8")
        for name, data in files.items():
            (root / "pad/images" / name).write_bytes(data)
        workspace = Workspace(root)
        count = run_ingest(workspace, pad_params(shard_rows=4)).sources["pad"]
        catalog, quarantine = read_rows(workspace.catalog, CatalogRow), read_rows(workspace.quarantine, QuarantineRow)
    assert count.rows == len(lines)
    assert count.rows + count.files_without_row == len(catalog) + len(quarantine)
    assert (count.catalog, sum(count.quarantine.values())) == (len(catalog), len(quarantine))
    assert len({r.image_id for r in catalog}) == len(catalog)
    assert all(r.code and r.message and "\n" not in r.message for r in quarantine)
    # A file is either the picture of an entered or refused row, or a file without a row.
    named = {cells[7].strip() for cells in lines if len(cells) > 7}
    assert count.files_without_row == len(set(files) - named)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_any_table_is_read_or_refused_as_a_source_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pad/images").mkdir(parents=True)
        (root / "pad/images/a.png").write_bytes(GOOD[0])
        (root / "pad/metadata.csv").write_bytes(",".join(COLUMNS).encode() + b"\n" + data)
        try:
            found = run_ingest(Workspace(root), pad_params())
        except SourceError as error:
            message = str(error)
        else:
            count = found.sources["pad"]
            assert count.rows + count.files_without_row == found.catalog + found.quarantine
            return
    assert "\n" not in message
