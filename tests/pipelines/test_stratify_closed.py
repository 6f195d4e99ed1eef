"""Images whose licence forbids derived works are test, with everything that belongs to the same people and pictures."""

from __future__ import annotations

from pathlib import Path

from catalog_rows import catalog_row, fill, params
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stratify.closed import keep_from_learning
from pipelines.stratify.strata import stratify
from schemas.catalog import CatalogRow
from schemas.paths import Workspace
from schemas.table import read_rows, write_rows
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


NAMES = st.sampled_from([None, "a", "b", "c"])
ROWS = st.lists(st.tuples(NAMES, NAMES, NAMES, st.booleans(), st.sampled_from(list(Split))), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_nobody_lies_on_both_sides_and_nobody_else_moves(
    drawn: list[tuple[str | None, str | None, str | None, bool, Split]],
) -> None:
    import tempfile

    rows = [
        catalog_row(
            n, patient_id=p, lesion_id=le, dup_cluster=d, licence_allows=CLOSED if closed else OPEN, split=split
        )
        for n, (p, le, d, closed, split) in enumerate(drawn)
    ]
    # The plain definition: closed rows, then whoever shares a name with one, until nobody is added.
    forced = {n for n, row in enumerate(drawn) if row[3]}
    while True:
        linked = {
            n for n, row in enumerate(drawn) for m in forced
            if any(row[k] is not None and row[k] == drawn[m][k] for k in range(3))
        }  # fmt: skip
        if linked <= forced:
            break
        forced |= linked
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.parquet"
        write_rows(rows, CatalogRow, path)
        assert keep_from_learning(Workspace(Path(folder)), path) == len(forced)
        found = read_rows(path, CatalogRow)
    wanted = [r.model_copy(update={"split": Split.TEST}) if n in forced else r for n, r in enumerate(rows)]
    assert found == wanted
