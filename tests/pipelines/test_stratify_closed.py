"""Images whose licence forbids derived works are test, with everything that belongs to the same people and pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from catalog_rows import catalog_row, fill, params, write_clusters, write_copies
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stratify.strata import stratify
from schemas.catalog import CatalogRow
from schemas.params import parse_params
from schemas.table import read_rows
from schemas.words import Split

OPEN, CLOSED = ["commercial", "share", "derive"], ["commercial", "share"]


def test_stratify_learns_from_none_of_them(tmp_path: Path) -> None:
    rows = [catalog_row(n, licence_allows=CLOSED if n % 3 == 0 else OPEN) for n in range(60)]
    space = fill(tmp_path, rows)
    result = stratify(space, params())
    found = read_rows(space.splits, CatalogRow)
    assert len(found) == 60
    assert {r.split for r in found if "derive" not in r.licence_allows} == {Split.TEST}
    assert {Split.TRAIN, Split.TEST} <= {r.split for r in found if "derive" in r.licence_allows}
    assert sum(s.n_train for s in result.strata) == sum(r.split == Split.TRAIN for r in found)


ORDER = parse_params(
    {"sources": {"use": {"old": {"adapter": "phantom"}, "new": {"adapter": "phantom"}}}}, "params.yaml"
)


def people(n: int) -> tuple[list[CatalogRow], CatalogRow]:
    """Patient a's two open pictures and patient b's other one, closed; then b's closed copy of a's first."""
    a, b = f"a{n}", f"b{n}"
    return [
        catalog_row(4 * n, source="old", patient_id=a, licence_allows=OPEN),
        catalog_row(4 * n + 1, source="old", patient_id=a, licence_allows=OPEN),
        catalog_row(4 * n + 2, source="new", patient_id=b, licence_allows=CLOSED),
    ], catalog_row(4 * n + 3, source="new", patient_id=b, licence_allows=CLOSED)


def test_a_closed_picture_that_dedupe_left_out_still_takes_its_people_to_test(tmp_path: Path) -> None:
    rows, dropped = [], []
    for n in range(20):
        (first, *others), copy = people(n)
        clustered = [row.model_copy(update={"dup_cluster": f"c{n}"}) for row in (first, copy)]
        rows += [*clustered, *others[: 1 if n % 2 else 2]]  # half of the patients b have no other picture
        dropped.append(copy.image_id)
    space = fill(tmp_path, rows)
    write_clusters(space, rows, dropped)
    stratify(space, ORDER)
    found = read_rows(space.splits, CatalogRow)
    assert len(found) == 50
    assert {r.split for r in found} == {Split.TEST}


def test_a_closed_picture_that_was_there_already_takes_its_people_to_test(tmp_path: Path) -> None:
    rows, copies = [], []
    for n in range(20):
        kept, copy = people(n)
        rows += kept[: 2 if n % 2 else 3]  # half of the patients b have no picture but the copy
        copies.append(copy.model_copy(update={"image_id": kept[0].image_id}))
    space = fill(tmp_path, rows)
    stratify(space, ORDER)
    assert {r.split for r in read_rows(space.splits, CatalogRow)} >= {Split.TRAIN, Split.TEST}
    write_copies(space, copies)
    stratify(space, ORDER)
    assert {r.split for r in read_rows(space.splits, CatalogRow)} == {Split.TEST}


NAMES = st.sampled_from([None, "a", "b", "c"])
PLACES = st.sampled_from(["kept", "dropped", "copy"])
ROWS = st.lists(st.tuples(NAMES, NAMES, NAMES, st.booleans(), PLACES), min_size=1, max_size=12)


def splits(rows: Sequence[CatalogRow], places: Sequence[str]) -> dict[str, Split | None]:
    """The splits of the rows that are kept, by row id."""
    with tempfile.TemporaryDirectory() as folder:
        space = fill(Path(folder), [row for row, place in zip(rows, places, strict=True) if place != "copy"])
        dropped = [row.image_id for row, place in zip(rows, places, strict=True) if place == "dropped"]
        write_clusters(space, [row for row, place in zip(rows, places, strict=True) if place != "copy"], dropped)
        write_copies(space, [row for row, place in zip(rows, places, strict=True) if place == "copy"])
        stratify(space, params())
        return {row.source_row_id: row.split for row in read_rows(space.splits, CatalogRow)}


@settings(deadline=None, max_examples=15)
@given(ROWS)
def test_nobody_lies_on_both_sides_and_nobody_else_moves(
    drawn: list[tuple[str | None, str | None, str | None, bool, str]],
) -> None:
    rows = []
    for n, (p, le, d, closed, place) in enumerate(drawn):
        row = catalog_row(n, patient_id=p, lesion_id=le, licence_allows=CLOSED if closed else OPEN)
        of_first = {"image_id": rows[0].image_id if rows else row.image_id}
        rows.append(row.model_copy(update=of_first if place == "copy" else {"dup_cluster": d}))
    places = ["kept" if not n or (p[4] == "dropped" and p[2] is None) else p[4] for n, p in enumerate(drawn)]
    names = [
        {(k, getattr(row, k)) for k in ("image_id", "patient_id", "lesion_id", "dup_cluster")} - {
            (k, None) for k in ("patient_id", "lesion_id", "dup_cluster")
        }
        for row in rows
    ]  # fmt: skip
    # The plain definition: closed rows, then whoever shares a name with one, until nobody is added.
    forced = {n for n, row in enumerate(drawn) if row[3]}
    while more := {n for n in range(len(rows)) for m in forced if names[n] & names[m]} - forced:
        forced |= more
    found = splits(rows, places)
    unforced = splits([row.model_copy(update={"licence_allows": OPEN}) for row in rows], places)
    assert found == {
        row.source_row_id: Split.TEST if n in forced else unforced[row.source_row_id]
        for n, row in enumerate(rows)
        if places[n] == "kept"
    }
