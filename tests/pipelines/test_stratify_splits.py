"""Splits: nobody is in two of them, newcomers move nobody, and the draw is what the docs say it is."""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from catalog_rows import catalog_row, fill, params
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stratify.grouping import DRAWS, cuts, label_groups
from pipelines.stratify.query import catalog_files, connect
from pipelines.stratify.strata import stratify
from schemas.catalog import CatalogRow
from schemas.params import SplitShares
from schemas.paths import Workspace
from schemas.table import read_rows, write_rows

EVEN = params(stratify={"split": {"train": 0.4, "validation": 0.3, "test": 0.3}})


def split(rows: Sequence[CatalogRow]) -> list[CatalogRow]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        write_rows(rows, CatalogRow, workspace.catalog / "part-00000.parquet")
        stratify(workspace, EVEN)
        return read_rows(workspace.splits, CatalogRow)


def names(prefix: str, most: int = 8) -> st.SearchStrategy[str | None]:
    return st.none() | st.integers(0, most).map(lambda n: f"{prefix}{n}")


people = st.lists(st.tuples(names("p"), names("l"), names("d")), min_size=1, max_size=30)


def catalog(ids: Sequence[tuple[str | None, str | None, str | None]], start: int = 0) -> list[CatalogRow]:
    return [
        catalog_row(start + i, patient_id=p, lesion_id=lesion, dup_cluster=d) for i, (p, lesion, d) in enumerate(ids)
    ]


@settings(max_examples=20, deadline=None)
@given(people)
def test_no_patient_lesion_or_duplicate_is_in_two_splits(
    ids: list[tuple[str | None, str | None, str | None]],
) -> None:
    rows = split(catalog(ids))
    assert sorted(r.image_id for r in rows) == sorted(r.image_id for r in catalog(ids))
    for column in ("patient_id", "lesion_id", "dup_cluster"):
        seen = defaultdict(set)
        for row in rows:
            assert row.split is not None
            if getattr(row, column) is not None:
                seen[getattr(row, column)].add(row.split)
        assert all(len(splits) == 1 for splits in seen.values()), column


@settings(max_examples=8, deadline=None)
@given(people, people)
def test_newcomers_move_nobody(
    ids: list[tuple[str | None, str | None, str | None]], others: list[tuple[str | None, str | None, str | None]]
) -> None:
    before = {r.image_id: r.split for r in split(catalog(ids))}
    fresh = [tuple(name and f"0{name}" for name in entry) for entry in others]  # sorts before every old name
    after = {r.image_id: r.split for r in split([*catalog(fresh, start=1000), *catalog(ids)])}  # type: ignore[arg-type]
    assert {image: after[image] for image in before} == before


def test_a_new_image_of_a_known_patient_joins_its_split() -> None:
    old = [catalog_row(i, patient_id=f"p{i}", lesion_id=f"l{i}") for i in range(50)]
    new = [catalog_row(100 + i, patient_id=f"p{i}", lesion_id=f"a{i}") for i in range(50)]
    before = {r.patient_id: r.split for r in split(old)}
    for row in split([*new, *old]):
        assert row.split == before[row.patient_id]


def test_the_draw_is_the_documented_hash() -> None:
    rows = [catalog_row(i, patient_id=f"p{i:03d}") for i in range(200)]
    train, validation = cuts(EVEN.stratify.split)
    for row in split(rows):
        draw = int(hashlib.sha256(f"17:1:{row.patient_id}".encode()).hexdigest()[:8], 16)
        assert row.split == ("train" if draw < train else "validation" if draw < validation else "test")


def test_shares_are_met_over_many_patients() -> None:
    counts: dict[str | None, int] = defaultdict(int)
    for row in split([catalog_row(i, patient_id=f"p{i}") for i in range(3000)]):
        counts[row.split] += 1
    assert abs(counts["train"] / 3000 - 0.4) < 0.04
    assert abs(counts["validation"] / 3000 - 0.3) < 0.04


def test_a_chain_of_a_thousand_links_is_one_group_in_few_rounds(tmp_path: Path) -> None:
    order = sorted(range(1000), key=lambda i: hashlib.sha256(str(i).encode()).hexdigest())
    rows = [
        catalog_row(i, patient_id=f"p{order[i // 2]:04d}", lesion_id=f"l{(i + 1) // 2}") for i in range(2000)
    ]  # patient k has lesions k and k + 1
    workspace = fill(tmp_path, rows)
    with connect(workspace) as con:
        rounds = label_groups(con, catalog_files(workspace, "stratify"))
        assert con.execute("SELECT count(DISTINCT label), min(label) FROM label").fetchall() == [(1, "1:p0000")]
    assert rounds <= 12
    assert len({r.split for r in split(rows)}) == 1


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((1.0, 0.0, 0.0), (DRAWS, DRAWS)),
        ((0.0, 0.0, 1.0), (0, 0)),
        ((0.0, 1.0, 0.0), (0, DRAWS)),
        ((0.7, 0.0, 0.3), (round(0.7 * DRAWS), round(0.7 * DRAWS))),
        ((0.5, 0.4999995, 0.0), (DRAWS // 2, DRAWS)),
        ((0.9999995, 0.0, 0.0), (DRAWS, DRAWS)),
    ],
)
def test_a_share_of_zero_gets_no_draw(shares: tuple[float, float, float], expected: tuple[int, int]) -> None:
    train, validation, test = shares
    assert cuts(SplitShares(train=train, validation=validation, test=test)) == expected
