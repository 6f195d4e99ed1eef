"""Rows whose pixels were there already: which stays, what the others still say, and who decides between two diagnoses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from miniature import pad_params, photo, png, row, run_ingest, with_copies, write_pad

from pipelines.dedupe.find import find_duplicates
from pipelines.ingest.pseudonym import pseudonym
from pipelines.stratify.strata import stratify
from schemas.catalog import CatalogRow, CopyRow, QuarantineRow
from schemas.params import parse_params
from schemas.paths import Workspace
from schemas.table import read_rows


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return with_copies(tmp_path)


def test_of_equal_pixels_the_first_stays_for_dedupe_to_judge_and_conflicts_are_said(workspace: Workspace) -> None:
    run_ingest(workspace, pad_params())
    found = {r.source_row_id: r for r in read_rows(workspace.quarantine, QuarantineRow)}
    kept = read_rows(workspace.catalog, CatalogRow)[0]
    assert found["P_6.png"].code == "label_conflict"
    assert found["P_6.png"].message == (
        f"its pixels entered as {kept.image_id} from pad row P_1.png, and the labels disagree (melanoma, FST 3 here, "
        "nevus, FST 3 there); one picture needs one diagnosis, so dedupe leaves that row out too; correct or drop the "
        "wrong row"
    )
    assert found["P_7.png"].code == "duplicate_pixels"
    assert "disagree" not in found["P_7.png"].message
    assert json.loads(found["P_6.png"].raw) == row(6, diagnostic="MEL")


@pytest.mark.parametrize("first", ["NEV", "MEL"])
def test_a_picture_with_two_diagnoses_stays_out_whichever_row_comes_first(tmp_path: Path, first: str) -> None:
    second = "MEL" if first == "NEV" else "NEV"
    rows = [row(1, diagnostic=first), row(2, diagnostic=second), row(3), row(4, fitspatrick="4.0")]
    images = {"P_1.png": png(photo(1)), "P_2.png": png(photo(1)), "P_3.png": png(photo(3)), "P_4.png": png(photo(3))}
    write_pad(tmp_path, rows, images)
    workspace = Workspace(tmp_path)
    count = run_ingest(workspace, pad_params())
    assert count.sources["pad"].quarantine == {"duplicate_pixels": 1, "label_conflict": 1}
    assert find_duplicates(workspace, pad_params()).quarantine == {"label_conflict": 1}
    refused = [r for r in read_rows(workspace.quarantined, QuarantineRow) if r.code == "label_conflict"]
    assert {r.source_row_id for r in refused} == {"P_1.png", "P_2.png"}
    assert all("P_1.png" in r.message or r.source_row_id == "P_1.png" for r in refused)
    assert all(label in r.message for r in refused for label in ("nevus", "melanoma"))
    stratify(workspace, pad_params())
    entered = [r.source_row_id for r in read_rows(workspace.splits, CatalogRow)]
    assert entered == ["P_3.png"], "two skin types are no dispute"


def test_whom_exact_copies_show_is_kept(workspace: Workspace) -> None:
    run_ingest(workspace, pad_params())
    first = read_rows(workspace.catalog, CatalogRow)[0]
    copies = read_rows(workspace.copies, CopyRow)
    assert [(c.image_id, c.source_row_id, c.lesion) for c in copies] == [
        (first.image_id, "P_6.png", "melanoma"),
        (first.image_id, "P_7.png", "nevus"),
    ]
    assert [c.patient_id for c in copies] == [pseudonym("equiderm", "pad_ufes_20", "patient", f"P{n}") for n in (6, 7)]
    assert [c.lesion_id for c in copies] == [pseudonym("equiderm", "pad_ufes_20", "lesion", str(n)) for n in (6, 7)]


def test_patients_that_only_exact_copies_tie_share_a_split_after_a_build(tmp_path: Path) -> None:
    """Of each three pictures the second is the first once more, and names the patient of the third."""
    rows, images = [], {}
    for n in range(12):
        a, copy, other = 3 * n + 1, 3 * n + 2, 3 * n + 3
        rows += [row(a), row(copy, patient_id=f"B{n}"), row(other, patient_id=f"B{n}")]
        images |= {f"P_{a}.png": png(photo(a)), f"P_{copy}.png": png(photo(a)), f"P_{other}.png": png(photo(other))}
    write_pad(tmp_path, rows, images)
    workspace, settings = Workspace(tmp_path), pad_params()
    run_ingest(workspace, settings)
    find_duplicates(workspace, settings)
    stratify(workspace, settings)
    found = {r.source_row_id: r.split for r in read_rows(workspace.splits, CatalogRow)}
    assert len(found) == 24
    assert all(found[f"P_{3 * n + 1}.png"] == found[f"P_{3 * n + 3}.png"] for n in range(12))
    assert len(set(found.values())) > 1


def test_two_sources_with_the_same_pixels(workspace: Workspace) -> None:
    both = {name: {"adapter": "pad_ufes_20", "path": "pad"} for name in ("one", "two")}
    params = parse_params({"sources": {"use": both}, "ingest": {"resolution": 16}}, "t")
    found = run_ingest(workspace, params)
    assert (found.sources["one"].catalog, found.sources["two"].catalog) == (5, 0)
    assert (workspace.catalog / "two-00000.parquet").is_file()
    refused = found.sources["two"].quarantine
    assert (refused["duplicate_pixels"], refused["label_conflict"]) == (6, 1)
