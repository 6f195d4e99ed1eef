"""The suite: every expectation can fail, says which row, and agrees with the words of the schemas."""

from __future__ import annotations

import os
import socket
from typing import Any

import pandas as pd
import pytest

from pipelines.validate.result import Check
from pipelines.validate.suite import BATCHES, Suite, read_suite
from schemas.words import ColourConstancy, FstSource, Lesion, Modality, Split, ToneGroup

LIMITS = {"min_rows": 3, "max_quarantine_share": 0.5}

GOOD: dict[str, Any] = {
    "source": "pad",
    "source_sha256": "0" * 64,
    "modality": "clinical",
    "lesion": "nevus",
    "fst": 2.0,
    "fst_source": "expert",
    "ita_deg": 45.0,
    "ita_pixels": 900,
    "colour_constancy": "none",
    "fst_second": 3.0,
    "fst_second_source": "self",
    "tone_group": "34",
    "monk": 4.0,
    "monk_second": 5.0,
    "label_weight": 0.5,
    "width": 16,
    "height": 16,
    "licence": "CC-BY-4.0",
    "split": None,
    "licence_allows": "commercial,share,derive",
    "pixel_rows": 1,
}

BROKEN: list[tuple[str, str, dict[str, Any]]] = [
    ("not_be_null", "image_id", {"image_id": None}),
    ("not_be_null", "source", {"source": None}),
    ("not_be_null", "source_row_id", {"source_row_id": None}),
    ("match_regex", "image_id", {"image_id": "0123456789abcdef0123456Z"}),
    ("match_regex", "source_row_id", {"source_row_id": " "}),
    ("match_regex", "source_sha256", {"source_sha256": "0" * 63}),
    ("be_in_set", "modality", {"modality": "x-ray"}),
    ("be_in_set", "lesion", {"lesion": "wart"}),
    ("be_in_set", "split", {"split": "holdout"}),
    ("not_be_null", "modality", {"modality": None, "fst": None, "fst_source": None}),
    ("not_be_null", "lesion", {"lesion": None}),
    ("be_between", "fst", {"fst": 7.0}),
    ("be_in_set", "fst_source", {"fst_source": "ita"}),
    ("be_null", "fst_source", {"fst": None}),
    ("not_be_null", "fst_source", {"fst_source": None}),
    ("be_between", "ita_deg", {"ita_deg": -90.5}),
    ("be_between", "ita_deg", {"ita_deg": float("inf")}),
    ("be_between", "ita_pixels", {"ita_pixels": -1}),
    ("be_between", "width", {"width": 15}),
    ("be_between", "height", {"height": 15}),
    ("not_be_null", "licence", {"licence": None}),
    ("match_regex", "licence", {"licence": ""}),
    ("match_regex", "licence_allows", {"licence_allows": "share,sell"}),
    ("be_between", "fst_second", {"fst_second": 0.0}),
    ("be_in_set", "fst_second_source", {"fst_second_source": "ita"}),
    ("be_in_set", "tone_group", {"tone_group": "13"}),
    ("be_between", "monk", {"monk": 11.0}),
    ("be_between", "monk_second", {"monk_second": 0.0}),
    ("be_between", "label_weight", {"label_weight": 1.5}),
    ("be_in_set", "colour_constancy", {"colour_constancy": "max_rgb"}),
    ("be_in_set", "pixel_rows", {"pixel_rows": 0}),
    ("be_in_set", "pixel_rows", {"pixel_rows": 2}),
]
"""(expectation, column, what breaks it): each breaks that one and no other."""

FINE: list[dict[str, Any]] = [
    {"fst": None, "fst_source": None},
    {"modality": "phantom", "fst_source": None},
    {"modality": "dermoscopic", "lesion": "vascular_lesion", "split": "test"},
    {"ita_deg": None, "ita_pixels": 0},
    {"ita_deg": -90.0, "fst": 6.0, "fst_source": "self"},
    {"fst_second": None, "fst_second_source": None, "tone_group": None, "monk": None, "label_weight": None},
    {"licence_allows": ""},
    {"licence_allows": "share"},
]


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    ids = [{"image_id": f"{i:024x}", "source_row_id": f"row-{i}"} for i in range(len(rows))]
    return pd.DataFrame([{**own, **GOOD, **changes} for own, changes in zip(ids, rows, strict=True)])


@pytest.fixture(scope="module")
def rows_suite() -> Suite:
    return Suite("rows", LIMITS)


def test_every_expectation_on_rows_catches_its_row_and_no_other(rows_suite: Suite) -> None:
    expected: dict[tuple[str, str], list[int]] = {}
    for place, (name, column, _) in enumerate(BROKEN):
        expected.setdefault((f"expect_column_values_to_{name}", column), []).append(place)
    table = frame([changes for _, _, changes in BROKEN])
    for check in rows_suite.check(table):
        broken = expected[(check.name, check.column)]
        assert not check.passed, check.name
        assert check.unexpected == len(broken), check
        found = [row.source_row_id for row in check.sample_rows]
        wanted = table["source_row_id"][broken].tolist()
        assert [f for f in found if f] == [w for w in wanted if isinstance(w, str)], check


def test_what_is_allowed_passes(rows_suite: Suite) -> None:
    for check in rows_suite.check(frame(FINE)):
        assert check.passed, check
        assert (check.unexpected, check.observed, check.sample_rows) == (0, (), ())


@pytest.mark.parametrize("rows", [[], [{"fst": None, "fst_source": None}] * 4, [{"modality": "phantom"}] * 2])
def test_frames_without_any_null_or_any_value_pass(rows_suite: Suite, rows: list[dict[str, Any]]) -> None:
    table = frame(rows) if rows else frame([{}]).iloc[:0]
    assert all(check.passed for check in rows_suite.check(table))


def test_what_must_be_unique_is() -> None:
    table = frame([{}] * 4)
    table["source_row_id"] = ["a", "a", "b", "c"]
    table["image_id"] = ["0", "1", "2", "2"]
    size, image, key = Suite("whole", {**LIMITS, "min_rows": 5}).check(table)
    assert (size.passed, size.observed, size.needs) == (False, ("4",), "min_value 5")
    assert (image.unexpected, [r.source_row_id for r in image.sample_rows]) == (2, ["b", "c"])
    assert (key.unexpected, [r.image_id for r in key.sample_rows]) == (2, ["0", "1"])


COUNTS = {"rows_in": 10, "rows_in_sources": 10, "pixels_without_catalog_row": 0, "quarantine_share": 0.5}


@pytest.mark.parametrize(
    ("changes", "column", "observed"),
    [
        ({"pixels_without_catalog_row": 2}, "pixels_without_catalog_row", "2"),
        ({"rows_in_sources": 12}, "rows_in, rows_in_sources", "10 / 12"),
        ({"quarantine_share": 0.51}, "quarantine_share", "0.51"),
        ({"ita_missing_share": 0.2}, "ita_missing_share", "0.2"),
        ({"rows_in_sources": None}, None, None),
        ({}, None, None),
    ],
)
def test_totals(changes: dict[str, Any], column: str | None, observed: str | None) -> None:
    table = pd.DataFrame([{**COUNTS, "ita_missing_share": 0.1, **changes}])
    failed = [c for c in Suite("counts", LIMITS).check(table) if not c.passed]
    assert [(c.column, c.observed) for c in failed] == ([(column, (observed,))] if column else [])


def test_an_expectation_that_cannot_run_fails_and_says_why(rows_suite: Suite) -> None:
    checks = rows_suite.check(frame([{}]).drop(columns=["width"]))
    broken = [c for c in checks if not c.passed]
    assert [(c.column, c.passed) for c in broken] == [("width", False)]
    assert "width" in broken[0].observed[0]


def test_the_suite_says_what_the_words_say() -> None:
    sets = {e["kwargs"]["column"]: e["kwargs"]["value_set"] for e in read_suite() if "value_set" in e["kwargs"]}
    words_of = {
        "modality": Modality, "lesion": Lesion, "split": Split, "fst_source": FstSource,
        "fst_second_source": FstSource, "tone_group": ToneGroup, "colour_constancy": ColourConstancy,
    }  # fmt: skip
    for column, words in words_of.items():
        assert sets[column] == [str(word) for word in words]


def test_every_entry_is_complete() -> None:
    for entry in read_suite():
        assert set(entry) == {"type", "kwargs", "meta"}
        assert set(entry["meta"]) == {"batch", "critical", "why", "fix"}
        assert entry["meta"]["batch"] in BATCHES


def test_checks_of_two_batches_join() -> None:
    def part(unexpected: int, *observed: str) -> Check:
        return Check(
            name="expect_x",
            column="c",
            needs="y",
            critical=True,
            passed=not unexpected,
            unexpected=unexpected,
            observed=observed,
            sample_rows=(),
            why="",
            fix="",
        )

    joined = part(0).joined(part(2, "v", "w")).joined(part(4, "w", "x", "y"))
    assert (joined.passed, joined.unexpected, joined.observed) == (False, 6, ("v", "w", "x"))


def test_nothing_is_sent_and_nothing_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Suite("rows", LIMITS).check(frame(FINE))
    assert os.environ["GX_ANALYTICS_ENABLED"] == "False"
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
