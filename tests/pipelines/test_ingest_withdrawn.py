"""Who was withdrawn is gone from the next catalog, is counted, and is named nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import pad_params, photo, png, row, run_ingest, write_pad

from pipelines.dedupe.find import find_duplicates
from pipelines.ingest.plan import plan_shards
from pipelines.ingest.withdraw import withdraw
from pipelines.ingest.withdrawn import MESSAGE, read_withdrawn
from pipelines.phantoms.scene import draw
from pipelines.release.wanted import wanted_id
from pipelines.sources.interface import Refused, SourceRow
from schemas.catalog import CatalogRow, QuarantineRow
from schemas.errors import NotFoundError, ParamsError, UserError
from schemas.params import parse_params
from schemas.paths import Workspace
from schemas.source_params import PhantomSource
from schemas.table import read_rows
from schemas.withdrawal import WithdrawalKind
from schemas.words import ColourConstancy

PATIENT, ROW, IMAGE = WithdrawalKind.PATIENT, WithdrawalKind.ROW, WithdrawalKind.IMAGE
WHO = "SECRET-77"
ALL_COLUMNS = "date,dataset,kind,digest,salt,reason,resolution,colour_constancy,of"


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


@pytest.mark.parametrize("method", list(ColourConstancy))
def test_a_patient_is_gone_counted_and_named_nowhere(space: Workspace, method: ColourConstancy) -> None:
    params = pad_params(colour_constancy=str(method))
    before = run_ingest(space, params).sources["pad"]
    assert (before.catalog, before.quarantine) == (4, {"duplicate_pixels": 1, "image_missing": 1})
    assert WHO in str(read_rows(space.quarantine, QuarantineRow)), "quarantine keeps the raw row as a rule"
    done = withdraw(space, params, "pad", PATIENT, WHO, "asked us by letter")
    assert (done.dataset, done.rows, done.images, done.entries) == ("pad_ufes_20", 3, 2, 3)
    after = run_ingest(space, params).sources["pad"]
    # Row 4 is somebody else's line with this patient's very picture.
    assert (after.rows, after.catalog, after.quarantine) == (6, 2, {"withdrawn": 4})
    assert WHO not in everything(space)
    for refused in read_rows(space.quarantine, QuarantineRow):
        assert (refused.raw, refused.message) == ("{}", MESSAGE)
        assert "P_" not in refused.source_row_id


@pytest.mark.parametrize("method", list(ColourConstancy))
def test_it_works_before_anything_was_ingested(space: Workspace, method: ColourConstancy) -> None:
    params = pad_params(colour_constancy=str(method))
    withdraw(space, params, "pad", PATIENT, WHO, "asked")
    assert run_ingest(space, params).sources["pad"].quarantine == {"withdrawn": 4}


@pytest.mark.parametrize("method", list(ColourConstancy))
def test_impact_is_asked_for_the_image_that_a_quarantined_row_shares(space: Workspace, method: ColourConstancy) -> None:
    params = pad_params(colour_constancy=str(method))
    run_ingest(space, params)
    (shared,) = (r.image_id for r in read_rows(space.catalog, CatalogRow) if r.source_row_id == "P_4.png")
    assert wanted_id(space, params, "pad", "P_5.png").images == {shared}


def test_near_copies_that_dedupe_found_are_named(tmp_path: Path) -> None:
    image = draw(PhantomSource(count=4, seed=5, resolution=128), 0).pixels
    darker, other = (image * 0.9).astype(np.uint8), draw(PhantomSource(count=4, seed=5, resolution=128), 1).pixels
    files = {f"P_{n}.png": png(pixels) for n, pixels in enumerate((image, darker, other), start=1)}
    write_pad(tmp_path, [row(1), row(2), row(3)], files)
    space, params = Workspace(tmp_path), pad_params(resolution=64)
    assert run_ingest(space, params).sources["pad"].catalog == 3
    assert withdraw(space, params, "pad", PATIENT, "P3", "asked").alike == (), "before any dedupe"
    assert find_duplicates(space, params).clustered == 2
    assert withdraw(space, params, "pad", ROW, "P_1.png", "asked").alike == ("pad row P_2.png",)
    assert withdraw(space, params, "pad", ROW, "P_3.png", "asked").alike == ()


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


OTHERWISE = ({"resolution": 20}, {"colour_constancy": "grey_world"})


@pytest.mark.parametrize("change", OTHERWISE)
def test_pixels_made_otherwise_do_not_let_copies_come_back(space: Workspace, change: dict[str, Any]) -> None:
    withdraw(space, pad_params(), "pad", PATIENT, WHO, "asked")
    text = space.withdrawn.read_text()
    match = "2 images of 3 entries were made under ingest's resolution 16 and colour_constancy none"
    with pytest.raises(ParamsError, match=match):
        run_ingest(space, pad_params(**change))
    assert len(read_withdrawn(space, "equiderm").entries) == 3, "impact may ask it all the same"
    assert withdraw(space, pad_params(**change), "pad", PATIENT, WHO, "asked").entries == 2
    assert run_ingest(space, pad_params(**change)).sources["pad"].quarantine == {"withdrawn": 4}
    assert run_ingest(space, pad_params()).sources["pad"].quarantine == {"withdrawn": 4}
    assert space.withdrawn.read_text().startswith(text), "the old entries stay"


@pytest.mark.parametrize("change", OTHERWISE)
def test_an_image_made_otherwise_stops_until_a_person_empties_its_cells(
    space: Workspace, change: dict[str, Any]
) -> None:
    run_ingest(space, pad_params())
    image = read_rows(space.catalog, CatalogRow)[0].image_id
    # Named after params.yaml changed and before anything was built by it: its pixels are still the old ones.
    withdraw(space, pad_params(**change), "pad", IMAGE, image, "asked")
    with pytest.raises(ParamsError, match="1 images of 1 entries"):
        plan_shards(space, pad_params(**change))
    assert "withdrawn" in run_ingest(space, pad_params()).sources["pad"].quarantine
    space.withdrawn.write_text(space.withdrawn.read_text().replace(",16,none,", ",,,"), encoding="utf-8")
    plan_shards(space, pad_params(**change))
    assert "withdrawn" in run_ingest(space, pad_params()).sources["pad"].quarantine


def test_fewer_pictures_than_were_withdrawn_are_not_enough(space: Workspace) -> None:
    withdraw(space, pad_params(), "pad", PATIENT, WHO, "asked")
    (space.root / "pad/images/P_2.png").unlink()
    assert withdraw(space, pad_params(resolution=20), "pad", PATIENT, WHO, "asked").entries == 1
    with pytest.raises(ParamsError, match="2 images of 4 entries"):
        plan_shards(space, pad_params(resolution=20))


@pytest.mark.parametrize("change", [{}, *OTHERWISE])
def test_a_list_of_before_stops_nothing_and_still_holds(space: Workspace, change: dict[str, Any]) -> None:
    withdraw(space, pad_params(), "pad", PATIENT, WHO, "asked")
    lines = [line.split(",")[:6] for line in space.withdrawn.read_text().splitlines()]
    space.withdrawn.write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")
    found = run_ingest(space, pad_params(**change)).sources["pad"]
    assert found.quarantine["withdrawn"] == (3 if change else 4)


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
        (f"{ALL_COLUMNS}\n2026-01-01,pad_ufes_20,image,{'a' * 20},aaaaaaaa,x,1", "line 2: cells missing"),
        (f"{ALL_COLUMNS}\n2026-01-01,pad_ufes_20,image,{'a' * 20},aaaaaaaa,x,wide,none,\n", "line 2: resolution"),
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


@settings(deadline=None)
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
