"""Tables and folders that mean harm or were damaged: one clear line, or a quarantine row; never a traceback, never a leak."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publishers import TABLES, WRITERS, Table, codes, opened, params_of, read_all, write_csv, write_picture

from pipelines.ingest.plan import plan_shards
from pipelines.ingest.settle import settle_catalog
from pipelines.ingest.shard import ingest_shard
from pipelines.sources.text import LONGEST_LINE
from schemas.catalog import CatalogRow, QuarantineRow
from schemas.errors import SourceError
from schemas.params import parse_params
from schemas.paths import Workspace
from schemas.table import read_table

BY_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda t: Path(t.path).stem)


def damaged(root: Path, table: Table, change: Callable[[bytes], bytes]) -> Path:
    WRITERS[table.adapter](root / table.adapter)
    path = root / table.adapter / table.path
    path.write_bytes(change(path.read_bytes()))
    return path


def refusal(root: Path, adapter: str) -> str:
    with pytest.raises(SourceError) as caught:
        opened(root, adapter, **params_of(adapter))
    message = str(caught.value)
    assert "\n" not in message
    assert str(root) not in message
    assert len(message) < 1500
    return message


@BY_TABLE
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda data: data.decode().encode("utf-16"), "is UTF-16"),
        (lambda data: data.decode().encode("utf-16-le"), "NUL bytes in its header"),
        (lambda data: data + "Ärzte\n".encode("latin-1"), "is not UTF-8 at byte"),
        (lambda data: b"", "has "),
        (lambda data: data + b"x" * (LONGEST_LINE + 2), "line over 4,194,304 bytes"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, table: Table, change: Callable[[bytes], bytes], match: str) -> None:
    damaged(tmp_path, table, change)
    assert match in refusal(tmp_path, table.adapter)


@BY_TABLE
def test_a_folder_in_place_of_a_table(tmp_path: Path, table: Table) -> None:
    path = damaged(tmp_path, table, bytes)
    path.unlink()
    path.mkdir()
    if table.path.endswith("Duplicates.csv"):  # it may be absent, so it is
        assert len(read_all(tmp_path, table.adapter)) == 5
    elif table.adapter == "isic2018_task3":  # another of its tables is there
        assert len(read_all(tmp_path, table.adapter)) == 2
    else:
        assert "is a folder" in refusal(tmp_path, table.adapter)


@BY_TABLE
def test_shuffled_and_extra_columns_and_a_byte_order_mark_change_nothing(tmp_path: Path, table: Table) -> None:
    if table.adapter == "ph2":
        pytest.skip("its table is drawn with bars, not separated by commas")
    damaged(tmp_path, table, bytes)
    # Codes, not messages: a message counts lines, and the cells have grown one.
    before = [(r.row_id, r.facts, r.fault and r.fault.code) for r in read_all(tmp_path, table.adapter)]

    def shuffle(data: bytes) -> bytes:
        import csv
        import io

        rows = list(csv.reader(io.StringIO(data.decode())))
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([[*reversed(row), 'a "quoted"\nextra, cell'] for row in rows])
        return b"\xef\xbb\xbf" + out.getvalue().encode()

    damaged(tmp_path, table, shuffle)
    after = [(r.row_id, r.facts, r.fault and r.fault.code) for r in read_all(tmp_path, table.adapter)]
    assert after == before


def test_a_field_of_a_gigabyte_is_refused_in_little_memory(tmp_path: Path) -> None:
    path = damaged(tmp_path, TABLES[0], bytes)
    with path.open("r+b") as handle:  # a sparse file: a gigabyte of NUL bytes in one field
        handle.seek(0, os.SEEK_END)
        handle.truncate(handle.tell() + 10**9)
    script = (
        "import resource, sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
        "from publishers import opened\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: opened(Path(sys.argv[1]), 'pad_ufes_20')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), *folders], capture_output=True, text=True, check=True
    )
    message, grown = done.stdout.strip().splitlines()
    assert message.startswith("SourceError sources.use.s: metadata.csv has a line over")
    assert int(grown) < 100_000 * resource.getpagesize() // 4096  # KiB


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("H4,I4,bkl,histo,80,male,trunk", "line 6: unexpected end of data"),
        ('H4,I4,bkl,histo,80,male,"trunk', "line 6: ',' expected after '\"'"),
    ],
    ids=["never closed", "closed by the next"],
)
def test_a_stray_quote_swallows_no_rows(tmp_path: Path, last: str, said: str) -> None:
    rows = f'\nH1,I1,bkl,histo,80,male,"scalp\nH2,I2,mel,histo,80,male,back\n{last}\n'
    damaged(tmp_path, TABLES[1], lambda data: data.replace(b"\r\n", b"\n") + rows.encode())
    assert refusal(tmp_path, "ham10000") == (
        f"sources.use.s: HAM10000_metadata.csv: the row that begins on line 4 cannot be read up to {said}; "
        "needs a CSV; look for an unclosed quote"
    )


def test_nul_bytes_and_ragged_lines_are_rows_in_quarantine(tmp_path: Path) -> None:
    lines = b'P2,2,3\x000,MALE,2.0,NOSE,NEV,P_2.png\nP3,3\n"P4\n",4,30,MALE,2.0,NOSE,NEV,P_1.png,x,y\n,,,,,,,\n'
    damaged(tmp_path, TABLES[0], lambda data: data + lines)
    found = read_all(tmp_path, "pad_ufes_20")
    assert codes(found) == [None, "row_malformed", "row_malformed", "row_malformed", "id_missing"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..", "images/../../x", "C:\\x.png", "a\x1b[31m", "x" * 400]
)
@pytest.mark.parametrize("adapter", ["pad_ufes_20", "ddi", "scin", "generic", "fitzpatrick17k"])
def test_names_that_lead_out_are_refused(tmp_path: Path, adapter: str, name: str) -> None:
    WRITERS[adapter](tmp_path / adapter)
    given = params_of(adapter)
    if adapter == "generic":
        write_csv(tmp_path / "generic/t.csv", ("file", "dx"), [(name, "mm")])
        given |= {"table": "t.csv", "columns": {"image": "file", "label": "dx"}}
    else:
        swap = {
            "pad_ufes_20": "P_1.png",
            "ddi": "000001.png",
            "scin": "dataset/images/-1.png",
            "fitzpatrick17k": "a" * 32,
        }
        path = tmp_path / adapter / next(t.path for t in TABLES if t.adapter == adapter)
        path.write_text(path.read_text().replace(swap[adapter], name))
    first = read_all(tmp_path, adapter, **given)[0]
    assert first.fault is not None
    # SCIN gives paths, of which the last part counts: downwards, or refused.
    assert first.fault.code in ("unsafe_name", "image_missing")
    assert first.fault.code == "unsafe_name" or adapter == "scin" or (adapter == "generic" and "/" not in name)


def test_an_archive_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "pad_ufes_20.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(SourceError, match="is an archive; needs the dataset's folder; unpack it"):
        opened(tmp_path, "pad_ufes_20", path="pad_ufes_20.zip")
    WRITERS["pad_ufes_20"](tmp_path / "pad_ufes_20")
    (tmp_path / "pad_ufes_20/images/more.zip").write_bytes(b"PK\x03\x04")
    found = read_all(tmp_path, "pad_ufes_20")
    assert [(r.row_id, r.fault and r.fault.code) for r in found][1:] == [("images/more.zip", "file_without_row")]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_what_may_not_be_read_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Root reads everything, so the test becomes somebody else for a moment.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        WRITERS["pad_ufes_20"](root / "pad_ufes_20")
        opened(root, "pad_ufes_20")  # imports what it needs while it may
        user = os.geteuid()
        for path, match in (("pad_ufes_20/metadata.csv", "cannot be read (Permission denied)"),
                            ("pad_ufes_20/images", "cannot be listed (Permission denied)")):  # fmt: skip
            mode = (root / path).stat().st_mode
            (root / path).chmod(0)
            if user == 0:
                os.seteuid(65534)
            try:
                assert match in refusal(root, "pad_ufes_20")
            finally:
                os.seteuid(user)
                (root / path).chmod(mode)


def ingested(root: Path, adapter: str) -> tuple[int, int, int]:
    """Return (entries, catalog, quarantine) of a whole ingest."""
    source = {"adapter": adapter, "path": adapter, **params_of(adapter)}
    params = parse_params({"sources": {"use": {"s": source}}, "ingest": {"resolution": 16, "shard_rows": 3}}, "t")
    workspace = Workspace(root)
    plans = plan_shards(workspace, params)
    for plan in plans:
        ingest_shard(workspace, params, plan)
    settle_catalog(workspace, params)
    rows = read_table(workspace.catalog, CatalogRow).num_rows, read_table(workspace.quarantine, QuarantineRow).num_rows
    return plans[-1].stop if plans else 0, *rows


@settings(max_examples=60, deadline=None)
@given(table=st.sampled_from(TABLES), data=st.binary(max_size=400), where=st.floats(0, 1), cut=st.integers(0, 60))
def test_any_bytes_in_a_table_are_one_line_or_all_its_rows(table: Table, data: bytes, where: float, cut: int) -> None:
    def splice(good: bytes) -> bytes:
        start = int(where * len(good))
        return good[:start] + data + good[start + cut :]

    with tempfile.TemporaryDirectory() as folder:
        damaged(Path(folder), table, splice)
        try:
            entries, catalog, quarantine = ingested(Path(folder), table.adapter)
        except SourceError as error:
            entries, catalog, quarantine = str(error).count("\n"), 0, 0
        assert entries == catalog + quarantine


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    table=st.sampled_from([t for t in TABLES if t.adapter not in ("ph2", "scin", "isic2019", "isic2020")]),
    extra=st.lists(st.lists(cells, min_size=2, max_size=10), max_size=6),
)
def test_every_line_written_is_counted(table: Table, extra: list[list[str]]) -> None:
    import csv
    import io

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        damaged(root, table, bytes)
        before = opened(root, table.adapter).table_rows
        out = io.StringIO()
        csv.writer(out).writerows(extra)
        damaged(root, table, lambda data: data + out.getvalue().encode())
        assert opened(root, table.adapter).table_rows == before + len(extra)
        entries, catalog, quarantine = ingested(root, table.adapter)
        assert entries == catalog + quarantine >= before + len(extra)


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=9))
)
def test_a_folder_a_class_of_any_names(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_picture(root / "generic/mm/1.png", 1)
        for name in names:
            if name in (".", ".."):
                continue
            (root / "generic" / f"c{name}").mkdir(exist_ok=True)
            (root / "generic" / f"c{name}" / f"f{name}").write_bytes(b"x")
        entries, catalog, quarantine = ingested(root, "generic")
        assert (entries, catalog) == (catalog + quarantine, 1)
        assert entries == 1 + len({n for n in names if n not in (".", "..")})
