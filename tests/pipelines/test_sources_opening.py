"""Opening a source: what is missing is one line saying what was got, what is needed and what to do."""

from __future__ import annotations

import importlib
import json
import os
import typing
from pathlib import Path

import pytest
from miniature import COLUMNS, pad_params, photo, png, row, write_pad

from pipelines.sources.fingerprint import source_digest, write_fingerprint
from pipelines.sources.interface import SourceReader
from pipelines.sources.registry import open_source
from schemas.errors import SourceError
from schemas.licences import DATASETS
from schemas.paths import Workspace
from schemas.source_params import Ham10000Source, PadUfes20Source, PhantomSource, Source

PAD = PadUfes20Source(adapter="pad_ufes_20", path="pad")


def opened(root: Path) -> SourceReader:
    return open_source("pad", PAD, Workspace(root))


def refused(root: Path) -> str:
    with pytest.raises(SourceError) as caught:
        opened(root)
    message = str(caught.value)
    assert "\n" not in message
    assert str(root) not in message
    return message


def good(root: Path) -> Path:
    return write_pad(root, [row(1), row(2)], {f"P_{n}.png": png(photo(n)) for n in (1, 2)})


def test_every_adapter_of_the_parameters_is_a_module_with_a_licence() -> None:
    union = typing.get_args(Source)[0]
    adapters = {typing.get_args(model.model_fields["adapter"].annotation)[0] for model in typing.get_args(union)}
    assert adapters == set(DATASETS) | {"generic"}  # whose licence its own parameters declare
    for adapter in adapters:
        assert callable(importlib.import_module(f"pipelines.sources.{adapter}").open_reader)


def test_missing_folder(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        "sources.use.pad: folder pad does not exist; needs the dataset's folder; correct the path in params.yaml"
    )
    (tmp_path / "pad").write_text("")
    assert "folder pad is a file" in refused(tmp_path)


def test_missing_table(tmp_path: Path) -> None:
    (good(tmp_path) / "metadata.csv").rename(tmp_path / "pad/meta.csv")
    assert refused(tmp_path) == (
        "sources.use.pad: metadata.csv is missing, the folder holds images, meta.csv; needs the publisher's table; "
        "put it there"
    )


def test_missing_column(tmp_path: Path) -> None:
    write_pad(tmp_path, [row(1)], {"P_1.png": png(photo(1))}, [c for c in COLUMNS if c not in ("fitspatrick", "age")])
    assert refused(tmp_path) == (
        "sources.use.pad: metadata.csv has columns patient_id, lesion_id, gender, region, diagnostic, img_id; "
        "needs age, fitspatrick too; use the publisher's table or rename the columns"
    )


def test_a_column_there_twice(tmp_path: Path) -> None:
    (good(tmp_path) / "metadata.csv").write_text(",".join([*COLUMNS, "age"]) + "\n")
    assert "has column age twice" in refused(tmp_path)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "has columns none; needs patient_id"),
        (",".join(COLUMNS).encode(), "has a header and 0 rows"),
        (",".join(COLUMNS).encode() + b"\nP1,1,4,\xff\xfe,,,,\n", "is not UTF-8 at byte"),
        (",".join(COLUMNS).encode() + b'\nP1,"' + b"x" * 200_000, "needs a CSV; look for an unclosed quote"),
    ],
)
def test_damaged_tables(tmp_path: Path, data: bytes, match: str) -> None:
    (good(tmp_path) / "metadata.csv").write_bytes(data)
    assert match in refused(tmp_path)


def test_missing_or_empty_image_folder(tmp_path: Path) -> None:
    write_pad(tmp_path, [row(1)], {})
    assert refused(tmp_path) == (
        "sources.use.pad: no image in images/ or imgs_part_*/, pad holds images/, metadata.csv; "
        "needs the image files; put them there"
    )


@pytest.mark.parametrize("name", ["../up", "A", "a b", "", "x" * 65])
def test_a_name_that_is_no_file_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="as a name; needs"):
        open_source(name, PhantomSource(), Workspace(tmp_path))


def test_images_in_parts_and_with_a_bom(tmp_path: Path) -> None:
    folder = good(tmp_path)
    (folder / "imgs_part_2/imgs_part_2").mkdir(parents=True)
    (folder / "images/P_2.png").rename(folder / "imgs_part_2/imgs_part_2/P_2.png")
    table = folder / "metadata.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert [r.fault for r in opened(tmp_path).rows(0, 2)] == [None, None]


def test_opening_lists_a_folder_once_and_rows_ask_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pad(tmp_path, [row(n) for n in range(200)], {"P_1.png": png(photo(1))})
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(str(path)), scandir(path))[1])
    reader = opened(tmp_path)
    assert len(listed) == len(set(listed)) + 1  # the dataset's folder once for images, once for masks
    monkeypatch.setattr(Path, "stat", lambda *a, **k: pytest.fail("a row asked the disk"))
    assert sum(r.fault is None for r in reader.rows(0, 200)) == 1


def test_phantoms_are_the_same_wherever_the_range_begins(tmp_path: Path) -> None:
    reader = open_source("phantom", PhantomSource(count=4, resolution=32), Workspace(tmp_path))
    whole, part = list(reader.rows(0, 99)), list(reader.rows(2, 3))
    assert len(whole) == len(reader) == reader.table_rows == 4
    assert part[0].facts == whole[2].facts
    assert part[0].raw == whole[2].raw
    assert whole[0].facts is not None
    assert whole[0].facts.fst_source is None


def test_the_fingerprint_changes_with_the_source_and_with_nothing_else(tmp_path: Path) -> None:
    folder, workspace = good(tmp_path), Workspace(tmp_path)
    write_fingerprint(workspace, pad_params())
    first = workspace.sources.read_bytes()
    before = workspace.sources.stat().st_mtime_ns
    write_fingerprint(workspace, pad_params())
    assert workspace.sources.read_bytes() == first
    assert workspace.sources.stat().st_mtime_ns == before
    digests = {source_digest(opened(tmp_path))}
    os.utime(folder / "images/P_1.png", ns=(1, 1))
    digests.add(source_digest(opened(tmp_path)))
    (folder / "images/new.png").write_bytes(b"x")
    digests.add(source_digest(opened(tmp_path)))
    (folder / "masks").mkdir()
    (folder / "masks/P_1_mask.png").write_bytes(png(photo(1)))
    digests.add(source_digest(opened(tmp_path)))
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace("47", "48"))
    digests.add(source_digest(opened(tmp_path)))
    assert len(digests) == 5


def test_the_fingerprint_says_what_is_there(tmp_path: Path) -> None:
    good(tmp_path)
    found = write_fingerprint(Workspace(tmp_path), pad_params())
    assert json.loads(Workspace(tmp_path).sources.read_text()) == found
    pad = found["sources"]["pad"]
    assert (pad["rows"], pad["files_without_row"], pad["labels"]) == (2, 0, {"NEV": 2})
    assert (pad["licence"], pad["images"]["files"], pad["masks"]["files"]) == ("CC-BY-4.0", 2, 0)
    assert str(tmp_path) not in json.dumps(found)


def test_a_missing_source_leaves_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        write_fingerprint(Workspace(tmp_path), pad_params())
    assert not list(tmp_path.iterdir())


def test_ham_finds_files_by_the_name_without_its_ending(tmp_path: Path) -> None:
    (tmp_path / "ham/HAM10000_images_part_1").mkdir(parents=True)
    (tmp_path / "ham/HAM10000_images_part_1/ISIC_1.jpg").write_bytes(png(photo(1)))
    (tmp_path / "ham/HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dx_type,age,sex,localization\nHAM_1,ISIC_1,akiec,histo,80.0,unknown,lower extremity\n"
    )
    reader = open_source("ham", Ham10000Source(adapter="ham10000", path="ham"), Workspace(tmp_path))
    (found,) = reader.rows(0, 5)
    assert found.facts is not None
    assert (found.facts.age_band, found.facts.sex, found.facts.site) == ("80-89", None, "lower_extremity")
    assert (found.facts.patient, found.facts.fst, found.facts.lesion) == (None, None, "HAM_1")
