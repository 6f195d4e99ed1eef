"""Each adapter on a small copy of its publisher's layout: every row's facts, and why the others stay out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from publishers import ISIC2018, MINE, WRITERS, codes, opened, params_of, read_all, write_csv, write_picture

from pipelines.sources.interface import Facts, SourceRow
from schemas.errors import SourceError
from schemas.words import FstSource, Lesion, ToneGroup


def facts(row: SourceRow) -> Facts:
    assert row.fault is None, row.fault
    assert row.facts is not None
    assert row.diagnosis is not None
    assert row.picture is not None
    return row.facts


@pytest.mark.parametrize("adapter", WRITERS)
def test_every_row_has_a_fault_or_all_it_needs(tmp_path: Path, adapter: str) -> None:
    WRITERS[adapter](tmp_path / adapter)
    reader = opened(tmp_path, adapter, **params_of(adapter))
    rows = list(reader.rows(0, len(reader)))
    assert any(row.fault is None for row in rows)
    for row in rows:
        assert row.fault is not None or facts(row)
    json.dumps(reader.fingerprint(), allow_nan=False)
    assert reader.licence.id


@pytest.mark.parametrize("adapter", WRITERS)
def test_tables_alone_are_read_checked_and_kept_out(tmp_path: Path, adapter: str) -> None:
    WRITERS[adapter](tmp_path / adapter)
    whole = codes([r for r in read_all(tmp_path, adapter, **params_of(adapter)) if "file" not in r.raw or r.facts])
    alone = codes(read_all(tmp_path, adapter, images="none", **params_of(adapter)))
    assert None not in alone
    assert [code for code in alone if code != "image_missing"] == [
        c for c in whole if c not in (None, "image_missing")
    ] or (adapter == "generic")


def test_isic2018_reads_whichever_parts_are_there(tmp_path: Path) -> None:
    WRITERS["isic2018_task3"](tmp_path / "isic2018_task3")
    found = read_all(tmp_path, "isic2018_task3")
    assert [facts(row).label for row in found] == ["NV", "MEL"]  # validation, then test
    (tmp_path / "isic2018_task3/ISIC2018_Task3_Validation_GroundTruth.csv").unlink()
    assert codes(read_all(tmp_path, "isic2018_task3")) == [None, "file_without_row"]
    (tmp_path / "isic2018_task3/ISIC2018_Task3_Test_GroundTruth.csv").unlink()
    with pytest.raises(SourceError, match=r"ISIC2018_Task3_Test_GroundTruth\.csv is missing"):
        opened(tmp_path, "isic2018_task3")


@pytest.mark.parametrize(
    ("hot", "code"), [("0000000", "label_ambiguous"), ("1100000", "label_ambiguous"), ("2000000", "value_invalid")]
)
def test_one_hot_needs_exactly_one(tmp_path: Path, hot: str, code: str) -> None:
    write_csv(tmp_path / "isic2018_task3/ISIC2018_Task3_Test_GroundTruth.csv", ISIC2018, [["ISIC_1", *hot]])
    assert codes(read_all(tmp_path, "isic2018_task3", images="none")) == [code]


def test_isic2019_joins_its_tables_and_loses_no_row(tmp_path: Path) -> None:
    WRITERS["isic2019"](tmp_path / "isic2019")
    found = read_all(tmp_path, "isic2019")
    assert codes(found) == [None, "label_unknown", "label_ambiguous", None, "row_without_label"]
    assert (facts(found[0]).lesion, facts(found[0]).age_band, facts(found[0]).site) == (
        "HAM_1",
        "50-59",
        "anterior_torso",
    )
    assert (facts(found[3]).label, facts(found[3]).sex) == ("SCC", None)  # no metadata: unknown, not refused
    assert opened(tmp_path, "isic2019").id_space == "isic"


def test_isic2020_keeps_one_of_a_listed_pair_and_guesses_nothing(tmp_path: Path) -> None:
    WRITERS["isic2020"](tmp_path / "isic2020")
    found = read_all(tmp_path, "isic2020")
    assert codes(found) == [None, None, "label_unknown", "duplicate_listed", "labels_disagree"]
    assert found[3].fault is not None
    assert "same picture as ISIC_1" in found[3].fault.message
    assert facts(found[1]).patient == "IP_0"
    (tmp_path / "isic2020/ISIC_2020_Training_Duplicates.csv").unlink()
    assert codes(read_all(tmp_path, "isic2020"))[3] is None


def test_fitzpatrick17k_keeps_both_readings_apart(tmp_path: Path) -> None:
    WRITERS["fitzpatrick17k"](tmp_path / "fitzpatrick17k")
    found = read_all(tmp_path, "fitzpatrick17k")
    assert codes(found) == [None, None, "label_disputed", "label_unmapped"]
    first, second = facts(found[0]), facts(found[1])
    assert (first.fst, first.fst_source, first.fst_second) == (5, FstSource.CROWD, 4)
    assert (second.fst, second.fst_source, second.fst_second) == (None, None, 2)
    assert found[3].fault is not None
    assert "label 'dragon pox' is not one of" in found[3].fault.message
    assert "(114 in all)" in found[3].fault.message


def test_ddi_tones_are_ranges_and_never_types(tmp_path: Path) -> None:
    WRITERS["ddi"](tmp_path / "ddi")
    found = read_all(tmp_path, "ddi")
    assert codes(found) == [None, None, "labels_disagree", "value_invalid", "label_unmapped"]
    assert [(facts(r).fst, facts(r).tone_group) for r in found[:2]] == [(None, ToneGroup.V_VI), (None, ToneGroup.I_II)]
    assert "share" not in opened(tmp_path, "ddi").licence.allows


def test_scin_one_row_an_image_and_a_label_only_where_it_is_clear(tmp_path: Path) -> None:
    WRITERS["scin"](tmp_path / "scin")
    found = read_all(tmp_path, "scin")
    assert [row.row_id for row in found] == ["-1.png", "-2.png", "-3.png", "case 13", "-4.png"]
    assert codes(found) == [None, None, "label_ambiguous", "image_missing", "label_missing"]
    first = facts(found[0])
    assert (first.label, first.label_weight) == ("Eczema", 0.69)
    assert (first.fst, first.fst_source, first.fst_second, first.fst_second_source) == (
        5, FstSource.EXPERT, 4, FstSource.SELF,
    )  # fmt: skip
    assert (first.monk, first.monk_second, first.site, first.age_band) == (8, 7, "arm", "18-29")
    assert facts(found[1]).patient == first.patient == "11"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("__import__('os').system('true')", "value_invalid"), ("[" * 5000, "value_invalid"),
        ("{'Eczema': " + "1" * 20_000 + "}", "value_invalid"), ("{'Eczema': True}", "value_invalid"),
        ("{'Eczema': 1e999}", "value_invalid"), ("['Eczema']", "value_invalid"), ("{1: 0.5}", "value_invalid"),
        ("{'Eczema': 0.49}", "label_ambiguous"), ("{}", "label_missing"), ("{'Gout': 1}", "label_unmapped"),
        ("{[]: 1}", "value_invalid"), ("{'Acute dermatitis, NOS': 1.0}", "label_unknown"),
    ],
)  # fmt: skip
def test_scin_differentials_that_are_none(tmp_path: Path, text: str, code: str) -> None:
    WRITERS["scin"](tmp_path / "scin")
    table = tmp_path / "scin/dataset/scin_labels.csv"
    table.write_text(table.read_text().replace("\"{'Eczema': 0.69, 'Psoriasis': 0.31}\"", '"' + text + '"'))
    assert codes(read_all(tmp_path, "scin"))[:2] == [code, code]


def test_ph2_reads_its_bars_and_its_masks(tmp_path: Path) -> None:
    WRITERS["ph2"](tmp_path / "ph2")
    found = read_all(tmp_path, "ph2")
    assert codes(found) == [None, None, None, "value_invalid"]
    assert [facts(row).label for row in found[:3]] == ["common nevus", "atypical nevus", "melanoma"]
    picture = found[0].picture
    assert picture.path.name == "IMD003.bmp"
    assert picture.mask_path.name == "IMD003_lesion.bmp"


def test_a_folder_a_class(tmp_path: Path) -> None:
    WRITERS["generic"](tmp_path / "generic")
    found = read_all(tmp_path, "generic", **MINE)
    assert [(r.row_id, r.fault and r.fault.code) for r in found] == [
        ("mm/2.png", None), ("naevus/1.png", None), ("rubbish/3.png", "label_unknown"), ("surprise/4.png", "label_unmapped"),
    ]  # fmt: skip
    assert found[0].diagnosis.lesion is Lesion.MELANOMA
    assert found[3].fault is not None
    assert "add a line for it to sources.use.s.labels" in found[3].fault.message


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_any_table_with_its_columns_named(tmp_path: Path, kind: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"Nr": [1, 2, 3], "Bild": ["a", "sub/b.png", "../../etc/passwd"], "Diagnose": ["mm", "naevus", "mm"],
               "Typ": [5.0, None, 2.0], "Pat": ["x", "y", "z"]}  # fmt: skip
    root = tmp_path / "generic"
    root.mkdir()
    if kind == "csv":
        rows = [["" if v is None else str(v) for v in line] for line in zip(*columns.values(), strict=True)]
        write_csv(root / "table.csv", list(columns), rows)
    else:
        pq.write_table(pa.table({**columns, "pixels": [b"x" * 10] * 3}), root / "table.parquet")
    write_picture(root / "bilder/a.jpg", 1)
    write_picture(root / "bilder/sub/b.png", 2)
    named = {"id": "Nr", "image": "Bild", "label": "Diagnose", "fst": "Typ", "patient": "Pat"}
    given = {**MINE, "table": f"table.{kind}", "columns": named, "fst_source": "self", "image_folders": ["bilder"]}
    found = read_all(tmp_path, "generic", **given)
    assert [(r.row_id, r.fault and r.fault.code) for r in found] == [("1", None), ("2", None), ("3", "unsafe_name")]
    assert [(facts(r).fst, facts(r).fst_source, facts(r).patient) for r in found[:2]] == [
        (5, FstSource.SELF, "x"), (None, None, "y"),
    ]  # fmt: skip
    assert opened(tmp_path, "generic", **given).id_space == "generic/s"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"licence": "mine"}, "licence 'mine' is not known"), ({"licence": None}, "licence"), ({"citation": ""}, "citation"),
        ({"labels": {}}, "labels"), ({"labels": {"x": "dragon_pox"}}, "labels"), ({"modality": "phantom"}, "modality"),
        ({"table": "t.csv"}, "table is given without columns"),
        ({"columns": {"image": "a", "label": "b"}}, "columns is given without table"),
        ({"table": "t.csv", "columns": {"image": "a", "label": "b", "fst": "c"}}, "without fst_source"),
    ],
)  # fmt: skip
def test_your_own_data_needs_its_terms(tmp_path: Path, changes: dict[str, object], match: str) -> None:
    from schemas.errors import ParamsError

    with pytest.raises(ParamsError, match=match):
        opened(tmp_path, "generic", **{**MINE, **changes})
