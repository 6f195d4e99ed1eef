"""One row at a time: which fault it has, and what its facts become."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniature import photo, png, row, write_pad

from pipelines.sources import wording
from pipelines.sources.interface import Refused, SourceRow
from pipelines.sources.naming import is_plain_name
from pipelines.sources.registry import open_source
from schemas.paths import Workspace
from schemas.source_params import PadUfes20Source
from schemas.words import FstSource


def rows_of(root: Path, rows: list[dict[str, str]], extra: dict[str, bytes] | None = None) -> list[SourceRow]:
    write_pad(root, rows, {"P_1.png": png(photo(1)), **(extra or {})})
    reader = open_source("pad", PadUfes20Source(adapter="pad_ufes_20", path="pad"), Workspace(root))
    return list(reader.rows(0, len(reader)))


def test_a_good_row(tmp_path: Path) -> None:
    (found,) = rows_of(tmp_path, [row(1)])
    assert found.fault is None
    facts = found.facts
    assert facts is not None
    assert (facts.fst, facts.fst_source, facts.site) == (3, FstSource.EXPERT, "lower_leg")
    assert (facts.age_band, facts.sex, facts.patient) == ("40-49", "female", "P1")


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"img_id": ""}, "id_missing", "line 2 has no img_id; needs one; correct the line"),
        ({"img_id": "../metadata.csv"}, "unsafe_name",
         "img_id '../metadata.csv' is not a plain file name; needs one without a path; fix it"),
        ({"img_id": "P_9.png"}, "image_missing", "no image file P_9.png in the source; put the file there"),
        ({"img_id": "p_1.PNG"}, "image_missing",
         "no image file p_1.PNG in the source; P_1.png differs in upper and lower case only; rename it"),
        ({"diagnostic": "WART"}, "label_unmapped",
         "diagnostic 'WART' is not one of ACK, BCC, MEL, NEV, SCC, SEK; add a line for it to schemas/taxonomy.csv"),
        ({"fitspatrick": "7.0"}, "value_invalid",
         "column fitspatrick holds '7.0'; needs 1 to 6 or nothing; correct the row"),
        ({"fitspatrick": "2.5"}, "value_invalid",
         "column fitspatrick holds '2.5'; needs 1 to 6 or nothing; correct the row"),
        ({"age": "-3"}, "value_invalid",
         "column age holds '-3'; needs years from 0 to 120 or nothing; correct the row"),
        ({"gender": "FEMLE"}, "value_invalid",
         "column gender holds 'FEMLE'; needs female, male or nothing; correct the row"),
    ],
)  # fmt: skip
def test_faults(tmp_path: Path, changes: dict[str, str], code: str, message: str) -> None:
    first = rows_of(tmp_path, [row(1, **changes)])[0]
    assert first.fault is not None
    assert (first.fault.code, first.fault.message) == (code, message)
    assert first.raw["patient_id"] == "P1"


def test_a_repeated_id_names_the_line_that_had_it(tmp_path: Path) -> None:
    found = rows_of(tmp_path, [row(1), row(2), row(1, fitspatrick="4.0")], {"P_2.png": png(photo(2))})
    assert [r.fault and r.fault.code for r in found] == [None, None, "duplicate_id"]
    assert found[2].fault is not None
    assert "is on line 2 already" in found[2].fault.message


@pytest.mark.parametrize("labels", [("NEV", "MEL", "NEV"), ("MEL", "NEV", "NEV"), ("NEV", "NEV", "WART")])
def test_a_repeated_id_with_two_diagnoses_stays_out_whole(tmp_path: Path, labels: tuple[str, ...]) -> None:
    rows = [row(1, diagnostic=label) for label in labels]
    found = rows_of(tmp_path, [*rows, row(2)], {"P_2.png": png(photo(2))})
    assert [r.fault and r.fault.code for r in found] == ["label_conflict"] * 3 + [None]
    if labels[1] == "MEL":
        assert found[0].fault is not None
        assert found[0].fault.message == (
            "img_id P_1.png is on line 2 (nevus) and line 3 (melanoma); one picture needs one diagnosis; correct or drop "
            "the wrong rows"
        )


def test_a_repeated_line_that_cannot_be_read_says_nothing_of_the_diagnosis(tmp_path: Path) -> None:
    found = rows_of(tmp_path, [row(1), row(1, diagnostic="MEL", fitspatrick="9"), row(1, age="200")])
    assert [r.fault and r.fault.code for r in found] == [None, "duplicate_id", "duplicate_id"]


def test_a_line_with_too_few_or_many_cells_keeps_its_text(tmp_path: Path) -> None:
    rows_of(tmp_path, [row(1)])
    with (tmp_path / "pad/metadata.csv").open("a") as table:
        table.write("P2,2,30\n\nP3,3,30,MALE,2.0,NOSE,NEV,P_3.png,surplus\n")
    reader = open_source("pad", PadUfes20Source(adapter="pad_ufes_20", path="pad"), Workspace(tmp_path))
    found = list(reader.rows(0, 9))
    assert [r.fault and r.fault.code for r in found] == [None, "row_malformed", "row_malformed"]
    assert found[1].row_id == "line 3"
    assert found[2].raw["cell 9"] == "surplus"


def test_files_no_row_names_come_last_and_are_named(tmp_path: Path) -> None:
    strays = {"zz.png": b"", "notes.txt": b"hello", ".DS_Store": b"x"}
    found = rows_of(tmp_path, [row(1)], strays)
    (tmp_path / "pad/imgs_part_1").mkdir()
    (tmp_path / "pad/imgs_part_1/P_1.png").write_bytes(b"another of that name")
    assert [r.row_id for r in found] == ["P_1.png", "images/notes.txt", "images/zz.png"]
    assert {r.fault.code for r in found if r.fault} == {"file_without_row"}
    reader = open_source("pad", PadUfes20Source(adapter="pad_ufes_20", path="pad"), Workspace(tmp_path))
    assert [r.row_id for r in reader.rows(3, 9)] == ["imgs_part_1/P_1.png"]


@pytest.mark.parametrize(("links", "fault"), [("anywhere", None), ("inside", "link_outside")])
def test_a_link_out_of_the_folder_is_followed_where_allowed(tmp_path: Path, links: str, fault: str | None) -> None:
    # DVC may keep a data set as links into its cache.
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/blob").write_bytes(png(photo(2)))
    write_pad(tmp_path, [], {})
    (tmp_path / "pad/images/P_2.png").symlink_to(tmp_path / "cache/blob")
    (tmp_path / "pad/images/P_3.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "pad/images/P_4.png").symlink_to("P_1.png")
    write_pad(tmp_path, [row(n) for n in range(1, 5)], {"P_1.png": png(photo(1))})
    source = PadUfes20Source.model_validate({"adapter": "pad_ufes_20", "path": "pad", "links": links})
    found = list(open_source("pad", source, Workspace(tmp_path)).rows(0, 9))
    assert [r.fault and r.fault.code for r in found] == [None, fault, "image_missing", None]


@given(st.text(max_size=20))
def test_wording_returns_canonical_words_or_refuses(text: str) -> None:
    for read in (wording.fst, wording.age_band, wording.sex):
        try:
            found = read(text, "c")
        except Refused:
            continue
        assert found is None or str(found) in {*"123456", "female", "male"} or "-" in str(found)


@given(st.floats(0, 120))
def test_an_age_lies_in_its_band(years: float) -> None:
    band = wording.age_band(str(years), "age")
    assert band is not None
    low, high = band.split("-")
    assert int(low) <= years < int(high) + 1


@pytest.mark.parametrize("text", ["1e400", "nan", "inf", "", "unknown", " NaN "])
def test_numbers_that_are_none(text: str) -> None:
    if text == "1e400" or text == "inf":
        with pytest.raises(Refused):
            wording.age_band(text, "age")
    else:
        assert wording.age_band(text, "age") is None


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a\\b", "/etc/passwd", "a\0b", "a\nb", "x" * 300])
def test_names_that_are_paths(name: str) -> None:
    assert not is_plain_name(name)
