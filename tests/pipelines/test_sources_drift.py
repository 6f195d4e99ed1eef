"""A source that changed stops the build with a readable difference, until somebody accepts it by name.

golden/drift.txt is the message of a source that lost a label, rows and a column's worth of trust. After a wanted change:
delete the file, run this test (it writes the file and fails once), and read the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniature import COLUMNS, photo, png, row, write_pad

from flows.accountability import accept as accept_verb
from pipelines.ingest.plan import plan_shards
from pipelines.ingest.settle import settle_catalog
from pipelines.sources.compare import compare
from pipelines.sources.drift import accept_source, last_accepted, survey_source
from pipelines.sources.fingerprint import survey_sources
from pipelines.sources.registry import open_source
from schemas.drift import FIRST_USE, Profile
from schemas.errors import CheckFailed, SourceError, UserError
from schemas.fetch import FetchedRow
from schemas.params import DriftParams, Params, parse_params
from schemas.paths import Workspace
from schemas.table import write_rows

GOLDEN = Path(__file__).parent / "golden/drift.txt"
LABELS = ["NEV"] * 60 + ["BCC"] * 30 + ["MEL"] * 10


def params(**drift: object) -> Params:
    use = {"pad": {"adapter": "pad_ufes_20", "path": "pad"}, "drawn": {"adapter": "phantom", "count": 2}}
    return parse_params({"sources": {"use": use, "drift": drift}}, "t")


def write(root: Path, labels: list[str], columns: list[str] | None = None, **changes: str) -> Path:
    rows = [row(n, diagnostic=label, fitspatrick=f"{1 + n % 4}.0", **changes) for n, label in enumerate(labels)]
    return write_pad(root, rows, {"P_1.png": png(photo(1))}, [*COLUMNS, *(columns or [])])


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A source of 100 rows that the first build recorded."""
    write(tmp_path, LABELS)
    survey_sources(Workspace(tmp_path), params())
    return Workspace(tmp_path)


def stopped(space: Workspace, **drift: object) -> str:
    before = space.sources.read_bytes() if space.sources.exists() else None
    with pytest.raises(CheckFailed) as caught:
        survey_sources(space, params(**drift))
    assert caught.value.exit_code == 1
    assert (space.sources.read_bytes() if space.sources.exists() else None) == before, "nothing is written at drift"
    return str(caught.value)


def accept(space: Workspace) -> None:
    reader = open_source("pad", params().sources.use["pad"], space)
    accept_source(space, "pad", survey_source(space, params(), "pad", reader)[1], "maria", "publisher's new version")


def test_the_first_use_is_recorded_and_said(space: Workspace) -> None:
    (entry,) = json.loads((space.accepted / "pad.json").read_text())
    assert (entry["by"], entry["profile"]["rows"], entry["profile"]["labels"]["MEL"]) == (FIRST_USE, 100, 10)
    assert entry["profile"]["fst"] == {"1": 25, "2": 25, "3": 25, "4": 25}
    assert entry["profile"]["columns"] == list(COLUMNS)
    assert str(space.root) not in (space.accepted / "pad.json").read_text()
    found = survey_sources(space, params())
    assert found["drift"]["pad"]["state"] == "as accepted"
    assert found["drift"]["drawn"]["state"] == "drawn here", "phantoms need nobody's acceptance"
    assert [p.name for p in space.accepted.iterdir()] == ["pad.json"]


def test_a_first_use_can_be_refused(tmp_path: Path) -> None:
    write(tmp_path, LABELS)
    assert stopped(Workspace(tmp_path), first_use="refuse") == (
        "source pad: never accepted, sources.drift.first_use is refuse; it needs a record; look at it, then run "
        "`equiderm accept pad --by NAME --why TEXT`"
    )
    assert not (tmp_path / "infra").exists()


def test_what_is_ingested_is_what_was_compared(space: Workspace) -> None:
    """Between the comparison and the reading, or when ingest is run alone, a source may change unseen."""
    assert plan_shards(space, params())
    write(space.root, ["MEL"] * 100)
    with pytest.raises(SourceError, match=r"^source pad changed since data/sources.json, .*run `equiderm build`"):
        plan_shards(space, params())
    with pytest.raises(SourceError, match="changed since"):
        settle_catalog(space, params())
    accept(space)
    survey_sources(space, params())
    assert plan_shards(space, params())
    added = {**params().model_dump()["sources"]["use"], "more": {"adapter": "phantom", "count": 2}}
    with pytest.raises(SourceError, match=r"^source more is not in data/sources.json, .*run `equiderm build`"):
        plan_shards(space, parse_params({"sources": {"use": added}}, "t"))


def test_times_of_files_are_no_drift(space: Workspace) -> None:
    before = space.sources.read_bytes()
    for path in (space.root / "pad").rglob("*"):
        os.utime(path, ns=(1, 1))
    assert survey_sources(space, params())["drift"]["pad"]["changes"] == []
    assert space.sources.read_bytes() != before, "ingest still looks at them again"


def test_what_drifted_is_readable(space: Workspace) -> None:
    write(space.root, ["NEV"] * 70 + ["BCC"] * 16 + ["SEK"] * 3, ["biopsed"])
    said = stopped(space)
    when = f"{last_accepted(space, 'pad').when:%Y-%m-%d}"  # type: ignore[union-attr]
    said = said.replace(when, "DATE") + "\n"
    if not GOLDEN.exists():
        GOLDEN.write_text(said, encoding="utf-8")
        pytest.fail("golden/drift.txt was written; read it")
    assert said == GOLDEN.read_text(encoding="utf-8")


def test_it_fails_until_it_is_accepted_and_earlier_records_stay(space: Workspace) -> None:
    first = json.loads((space.accepted / "pad.json").read_text())
    write(space.root, LABELS[:50])
    stopped(space)
    stopped(space)
    accept(space)
    survey_sources(space, params())
    entries = json.loads((space.accepted / "pad.json").read_text())
    assert entries[:1] == first
    assert (entries[1]["by"], entries[1]["why"]) == ("maria", "publisher's new version")
    assert entries[1]["digest"] != entries[0]["digest"]


def test_within_the_limits_it_is_reported_and_goes_on(space: Workspace) -> None:
    write(space.root, ["NEV"] * 61 + LABELS[60:])
    changes = {c["what"]: c for c in survey_sources(space, params())["drift"]["pad"]["changes"]}
    assert (changes["rows"]["was"], changes["rows"]["now"], changes["rows"]["by"]) == ("100", "101", "+1, +1.0%")
    assert changes["table metadata.csv"]["by"] == "other contents"
    assert not any(c["stops"] for c in changes.values())
    assert "rows: was 100, is 101" in stopped(space, rows=0.005)


def test_the_same_rows_relabelled_a_little_are_reported(space: Workspace) -> None:
    write(space.root, ["NEV"] * 61 + ["BCC"] * 29 + LABELS[90:])
    found = survey_sources(space, params())["drift"]["pad"]
    assert found["state"] == "changed within limits"
    assert {c["what"] for c in found["changes"]} == {"label BCC", "label NEV", "table metadata.csv"}


def test_a_rare_class_that_shrinks_stops_it_though_its_share_hardly_moves(tmp_path: Path) -> None:
    many = ["NEV"] * 1990 + ["MEL"] * 10
    write(tmp_path, many)
    survey_sources(Workspace(tmp_path), params())
    write(tmp_path, many[:-3] + ["NEV"] * 3)
    assert "label MEL: was 10 rows (0.5%), is 7 rows (0.4%) (-0.1 points, -30.0% of its rows; " in stopped(
        Workspace(tmp_path)
    )


def test_another_licence_text_stops_it(space: Workspace) -> None:
    (space.root / "pad/LICENSE.txt").write_text("all rights reserved")
    assert "licence text LICENSE.txt: was not there, is sha256 " in stopped(space)


def test_another_licence_text_in_a_bucket_stops_it(tmp_path: Path) -> None:
    use = {"pad": {"adapter": "pad_ufes_20", "path": "s3://bucket/pad"}}
    bucket = parse_params({"sources": {"use": use}}, "t")
    space = Workspace(tmp_path)
    write(space.fetched("pad").parent, LABELS)
    write_rows([], FetchedRow, space.fetched_manifest("pad"))
    (space.fetched("pad") / "LICENSE.txt").write_text("CC BY 4.0")
    survey_sources(space, bucket)
    assert last_accepted(space, "pad").profile.licence_files.keys() == {"LICENSE.txt"}  # type: ignore[union-attr]
    (space.fetched("pad") / "LICENSE.txt").write_text("all rights reserved")
    with pytest.raises(CheckFailed, match=r"licence text LICENSE\.txt: was sha256 "):
        survey_sources(space, bucket)


@pytest.mark.parametrize(("by", "why"), [(" ", " "), ("\t", "seen"), ("maria", " ")])
def test_nobody_accepts_nothing(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], by: str, why: str
) -> None:
    write(space.root, LABELS[:50])
    before = (space.accepted / "pad.json").read_bytes()
    for name in ("params.yaml", "dvc.yaml"):
        (space.root / name).touch()
    monkeypatch.chdir(space.root)
    monkeypatch.setattr("flows.accountability.check_params", lambda _: params())
    with pytest.raises((CheckFailed, UserError)) as caught:
        accept_verb("pad", by, why, as_json=False)
    assert "--by" in str(caught.value)
    assert (space.accepted / "pad.json").read_bytes() == before
    accept_verb("pad", " maria ", " looked at it ", as_json=False)
    entry = last_accepted(space, "pad")
    assert entry is not None
    assert (entry.by, entry.why) == ("maria", "looked at it")


@pytest.mark.parametrize("key", ["by", "why"])
def test_a_record_of_nobody_or_for_no_reason_is_not_believed(space: Workspace, key: str) -> None:
    path = space.accepted / "pad.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([{**entries[0], key: " "}]))
    assert f"{key}: String should have at least 1 character" in stopped(space)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"rows": 100', '"rows": 99', "is not the one its digest names; restore it from git"),
        ("[", "{", "infra/accepted/pad.json: not a readable record"),
        ('"by"', '"who"', "infra/accepted/pad.json: not a readable record"),
    ],
)
def test_a_record_that_was_edited_is_not_believed(space: Workspace, old: str, new: str, message: str) -> None:
    path = space.accepted / "pad.json"
    path.write_text(path.read_text().replace(old, new, 1))
    assert message in stopped(space)


COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 500), min_size=1)


def made(labels: dict[str, int]) -> Profile:
    rows = sum(labels.values())
    return Profile(
        adapter="a", modality="clinical", licence="CC0-1.0", licence_allows=["share"], citation="", licence_files={},
        rows=rows, files_without_row=0, image_files=rows, image_bytes=rows, mask_files=0, columns=["x"], labels=labels,
        fst={"unknown": rows}, tables={"t.csv": str(labels)},
    )  # fmt: skip


@given(COUNTS, COUNTS)
def test_a_word_that_came_or_went_always_stops_and_sameness_never(was: dict[str, int], now: dict[str, int]) -> None:
    loose = DriftParams(rows=1, files=1, shares=1, classes=1)
    assert compare(made(was), made(was), DriftParams(rows=0, files=0, shares=0, classes=0)) == []
    stops = {
        c.what for c in compare(made(was), made(now), loose) if c.by in ("lost", "new") and c.what.startswith("label")
    }
    assert stops == {f"label {name}" for name in was.keys() ^ now.keys()}
    if was != now:
        assert any(c.what.startswith("label") for c in compare(made(was), made(now), loose))
