"""Who was withdrawn is gone from the next catalog, is counted, and is named nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniature import pad_params, photo, png, row, run_ingest, write_pad

from pipelines.ingest.plan import plan_shards
from pipelines.ingest.withdraw import withdraw
from pipelines.ingest.withdrawn import MESSAGE, read_withdrawn
from pipelines.sources.interface import Refused, SourceRow
from schemas.catalog import CatalogRow, QuarantineRow
from schemas.errors import NotFoundError, ParamsError, UserError
from schemas.params import parse_params
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.withdrawal import WithdrawalKind

PATIENT, ROW, IMAGE = WithdrawalKind.PATIENT, WithdrawalKind.ROW, WithdrawalKind.IMAGE
WHO = "SECRET-77"


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """Patient SECRET-77 has three rows: one good, one whose pixels are also row 4's, one without a file."""
    rows = [row(n, patient_id=WHO) if n in (2, 5, 6) else row(n) for n in range(1, 7)]
    images = {f"P_{n}.png": png(photo(n)) for n in range(1, 5)} | {"P_5.png": png(photo(4), compress_level=0)}
    write_pad(tmp_path, rows, images)
    return Workspace(tmp_path)


def everything(space: Workspace) -> str:
    """What ingest and the list say, as text."""
    tables = [str(r) for kind, where in ((CatalogRow, space.catalog), (QuarantineRow, space.quarantine))
              for r in read_rows(where, kind)]  # fmt: skip
    return "\n".join([*tables, space.withdrawn.read_text()])


def test_a_patient_is_gone_counted_and_named_nowhere(space: Workspace) -> None:
    before = run_ingest(space, pad_params()).sources["pad"]
    assert (before.catalog, before.quarantine) == (4, {"duplicate_pixels": 1, "image_missing": 1})
    assert WHO in str(read_rows(space.quarantine, QuarantineRow)), "quarantine keeps the raw row as a rule"
    done = withdraw(space, pad_params(), "pad", PATIENT, WHO, "asked us by letter")
    assert (done.dataset, done.rows, done.images, done.entries) == ("pad_ufes_20", 3, 2, 3)
    after = run_ingest(space, pad_params()).sources["pad"]
    # Row 4 is somebody else's line with this patient's very picture.
    assert (after.rows, after.catalog, after.quarantine) == (6, 2, {"withdrawn": 4})
    assert WHO not in everything(space)
    for refused in read_rows(space.quarantine, QuarantineRow):
        assert (refused.raw, refused.message) == ("{}", MESSAGE)
        assert "P_" not in refused.source_row_id


def test_it_works_before_anything_was_ingested(space: Workspace) -> None:
    withdraw(space, pad_params(), "pad", PATIENT, WHO, "asked")
    assert run_ingest(space, pad_params()).sources["pad"].quarantine == {"withdrawn": 4}


def test_one_row(space: Workspace) -> None:
    done = withdraw(space, pad_params(), "pad", ROW, "P_1.png", "a face is in it")
    assert (done.rows, done.images, done.entries) == (1, 1, 2)
    found = run_ingest(space, pad_params()).sources["pad"]
    assert (found.catalog, found.quarantine["withdrawn"]) == (3, 1)
    assert "P_1" not in everything(space)


def test_one_image_in_every_source(space: Workspace) -> None:
    both = {name: {"adapter": "pad_ufes_20", "path": "pad"} for name in ("one", "two")}
    params = parse_params({"sources": {"use": both}, "ingest": {"resolution": 16}}, "t")
    run_ingest(space, params)
    image = read_rows(space.catalog, CatalogRow)[0].image_id
    withdraw(space, params, "one", IMAGE, image, "asked")
    found = run_ingest(space, params)
    assert [count.quarantine["withdrawn"] for count in found.sources.values()] == [1, 1]
    assert image not in everything(space)


def test_ids_of_another_dataset_are_somebody_else(space: Workspace) -> None:
    withdraw(space, pad_params(), "pad", PATIENT, WHO, "asked")
    listed = read_withdrawn(space, "equiderm")
    assert listed.has_patient("pad_ufes_20", WHO)
    assert not listed.has_patient("isic2020", WHO)


def test_shards_of_before_are_not_taken_up_again(space: Workspace) -> None:
    keys = [plan.key for plan in plan_shards(space, pad_params())]
    assert withdraw(space, pad_params(), "pad", ROW, "P_1.png", "asked").entries == 2
    assert not set(keys) & {plan.key for plan in plan_shards(space, pad_params())}
    keys = [plan.key for plan in plan_shards(space, pad_params())]
    text = space.withdrawn.read_text()
    assert withdraw(space, pad_params(), "pad", ROW, "P_1.png", "asked twice").entries == 0
    assert space.withdrawn.read_text() == text
    assert keys == [plan.key for plan in plan_shards(space, pad_params())]


def test_a_wrong_id_is_not_recorded_unless_asked_for(space: Workspace) -> None:
    with pytest.raises(NotFoundError, match="source pad: no patient with that id"):
        withdraw(space, pad_params(), "pad", PATIENT, "secret-77", "asked")
    with pytest.raises(NotFoundError, match="source sap: not one of pad"):
        withdraw(space, pad_params(), "sap", PATIENT, WHO, "asked")
    assert not space.withdrawn.exists()
    assert withdraw(space, pad_params(), "pad", PATIENT, "gone-1", "asked", absent=True).entries == 1
    assert withdraw(space, pad_params(), "pad", IMAGE, "a" * 24, "asked", absent=True).entries == 1


@pytest.mark.parametrize("why", ["", "  ", f"letter of {WHO}"])
def test_the_reason_is_there_and_does_not_name_them(space: Workspace, why: str) -> None:
    with pytest.raises(UserError):
        withdraw(space, pad_params(), "pad", PATIENT, WHO, why)
    assert not space.withdrawn.exists()


def test_another_salt_does_not_let_them_come_back(space: Workspace) -> None:
    withdraw(space, pad_params(), "pad", PATIENT, WHO, "asked")
    with pytest.raises(ParamsError, match=r"3 of 3 entries were made under another ingest\.salt"):
        run_ingest(space, pad_params(salt="other"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("date,dataset\n", "columns"),
        (
            "date,dataset,kind,digest,salt,reason\n2026-01-01,pad_ufes_20,patient,SECRET-77,aaaaaaaa,x\n",
            "line 2: digest",
        ),
        ("date,dataset,kind,digest,salt,reason\n2026-01-01,pad_ufes_20\n", "line 2: kind"),
        ("date,dataset,kind,digest,salt,reason\n\ufffe,,,,,\n", "line 2: date"),
    ],
)
def test_a_damaged_list_stops_everything(space: Workspace, text: str, match: str) -> None:
    space.withdrawn.parent.mkdir()
    space.withdrawn.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=match):
        run_ingest(space, pad_params())
    space.withdrawn.write_bytes(b"\xff\xfe")
    with pytest.raises(ParamsError, match="not a UTF-8 CSV"):
        plan_shards(space, pad_params())


@given(names=st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=4, unique_by=str.strip))
def test_exactly_those_on_the_list_are_refused(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    space = Workspace(tmp_path_factory.mktemp("list"))
    write_pad(space.root, [row(1)], {"P_1.png": png(photo(1))})
    listed, others = names[::2], names[1::2]
    for name in listed:
        withdraw(space, pad_params(), "pad", ROW, name, 'Letter-2026, "Twofold"\n', absent=True)
    found = read_withdrawn(space, "equiderm")
    for name in listed:
        with pytest.raises(Refused):
            found.refuse_row(SourceRow(name.strip()), "pad_ufes_20")
    assert not any(found.has_row("pad_ufes_20", name.strip()) for name in others)


def test_an_id_that_only_begins_alike_stays(space: Workspace) -> None:
    from pipelines.sources.interface import Facts

    withdraw(space, pad_params(), "pad", ROW, "1.2", "asked", absent=True)
    found = read_withdrawn(space, "equiderm")
    found.refuse_row(SourceRow("1.2.3", facts=Facts("NEV")), "pad_ufes_20")
    with pytest.raises(Refused):
        found.refuse_row(SourceRow("images/1.2.png"), "pad_ufes_20")
