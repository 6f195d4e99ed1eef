"""Splits: nobody is in two of them, newcomers move nobody, and the draw is what the docs say it is."""

from __future__ import annotations

import hashlib
import math
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from catalog_rows import catalog_row, fill, params, write_clusters, write_copies
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stratify.grouping import DRAWS, Files, cuts, group_owners
from pipelines.stratify.strata import stratify
from pipelines.tables.query import catalog_files, connect, copy_files
from schemas.catalog import CatalogRow
from schemas.params import Params, SplitShares, parse_params
from schemas.paths import Workspace
from schemas.table import read_rows, write_rows

LESIONS = ("nevus", "melanoma", "basal_cell_carcinoma", "seborrhoeic_keratosis")
EVEN_SHARES = {"split": {"train": 0.4, "validation": 0.3, "test": 0.3}}
EVEN = params(stratify=EVEN_SHARES)


def added_later(*sources: str) -> Params:
    """Parameters with these sources in this order."""
    use = {name: {"adapter": "phantom"} for name in sources}
    return parse_params({"sources": {"use": use}, "stratify": EVEN_SHARES}, "params.yaml")


def split(
    rows: Sequence[CatalogRow],
    settings: Params = EVEN,
    dropped: Sequence[str] = (),
    copies: Sequence[CatalogRow] = (),
) -> list[CatalogRow]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        write_rows(rows, CatalogRow, workspace.catalog / "part-00000.parquet")
        write_clusters(workspace, rows, dropped)
        write_copies(workspace, copies)
        stratify(workspace, settings)
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


@settings(max_examples=25, deadline=None)
@given(people, people, st.randoms(use_true_random=False))
def test_a_source_added_later_moves_nobody_though_it_shares_lesions_and_pictures(
    ids: list[tuple[str | None, str | None, str | None]],
    others: list[tuple[str | None, str | None, str | None]],
    order: random.Random,
) -> None:
    """Newcomers use the old lesions' and clusters' names freely, and their own patients' names sort before the old ones.

    Every third of them has the very pixels of an old picture, so it stayed out and only says whom it shows.

    The one thing a newcomer can do is join two old groups: then the one that came first keeps its split and the other
    follows. So groups that were apart before and are together after may move, and nobody else.
    """
    old = [row.model_copy(update={"source": "zebra"}) for row in catalog(ids)]
    new = [
        row.model_copy(update={"source": "aardvark", "patient_id": row.patient_id and f"0{row.patient_id}"})
        for row in catalog(others, start=1000)
    ]
    copies = [
        row.model_copy(update={"image_id": old[i % len(old)].image_id, "dup_cluster": None})
        for i, row in enumerate(new[::3])
    ]
    new = [row for i, row in enumerate(new) if i % 3]
    both = [*old, *new]
    order.shuffle(both)
    before = {r.image_id: r for r in split(old, added_later("zebra"))}
    after = {r.image_id: r for r in split(both, added_later("zebra", "aardvark"), copies=copies)}
    was, now = groups(old), groups([*both, *copies])
    for together in {frozenset(g & set(before)) for g in now}:
        joined = [g for g in was if g <= together]
        founder = min(together, key=lambda i: owner(before[i]), default=None)
        for image in together:
            if len(joined) == 1:
                assert after[image].split == before[image].split
            elif founder is not None:
                assert after[image].split == before[founder].split


def owner(row: CatalogRow) -> str:
    return f"1:{row.patient_id}" if row.patient_id else f"2:{row.lesion_id}" if row.lesion_id else f"3:{row.image_id}"


def groups(rows: Sequence[CatalogRow]) -> list[set[str]]:
    """Components by plain merging of sets: the reference the SQL is held against."""
    found: list[tuple[set[str], set[str]]] = []
    for row in rows:
        named = {
            f"{column}:{value}"
            for column in ("patient_id", "lesion_id", "dup_cluster")
            if (value := getattr(row, column)) is not None
        } | {f"image:{row.image_id}"}
        images = {row.image_id}
        apart = []
        for their_names, their_images in found:
            if their_names & named:
                named, images = named | their_names, images | their_images
            else:
                apart.append((their_names, their_images))
        found = [*apart, (named, images)]
    return [images for _, images in found]


@settings(max_examples=15, deadline=None)
@given(people, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_means_nothing(
    ids: list[tuple[str | None, str | None, str | None]], order: random.Random
) -> None:
    rows = catalog(ids)
    mixed = list(rows)
    order.shuffle(mixed)
    assert {r.image_id: r.split for r in split(rows)} == {r.image_id: r.split for r in split(mixed)}


def test_a_picture_found_again_in_a_later_source_moves_nobody() -> None:
    """Images without patient or lesion: a cluster given to them later must not be their identity."""
    alone = [catalog_row(i, source="one") for i in range(100)]
    before = {r.image_id: r.split for r in split(alone, added_later("one"))}
    known = [row.model_copy(update={"dup_cluster": f"c{i}"}) for i, row in enumerate(alone)]
    again = [catalog_row(500 + i, source="two", dup_cluster=f"c{i}") for i in range(100)]
    after = split([*again, *known], added_later("one", "two"))
    assert {r.image_id: r.split for r in after if r.source == "one"} == before
    assert {r.dup_cluster: r.split for r in after if r.source == "two"} == {
        f"c{i}": before[row.image_id] for i, row in enumerate(alone)
    }


def test_a_dropped_duplicate_is_gone_and_still_ties_its_patients_together() -> None:
    rows = []
    for i in range(60):  # patient a's picture is patient b's too; b has another one
        rows += [
            catalog_row(3 * i, patient_id=f"a{i}", dup_cluster=f"c{i}"),
            catalog_row(3 * i + 1, patient_id=f"b{i}", dup_cluster=f"c{i}"),
            catalog_row(3 * i + 2, patient_id=f"b{i}"),
        ]
    dropped = [rows[3 * i + 1].image_id for i in range(60)]
    found = {r.image_id: r for r in split(rows, dropped=dropped)}
    assert set(found) == {r.image_id for r in rows} - set(dropped)
    for i in range(60):
        assert found[rows[3 * i].image_id].split == found[rows[3 * i + 2].image_id].split
        assert found[rows[3 * i].image_id].dup_cluster == f"c{i}"
        assert found[rows[3 * i + 2].image_id].dup_cluster is None


def test_two_photos_of_a_lesion_that_only_their_exact_copies_name_share_a_split() -> None:
    """The same files in two sources: the first names neither lesion nor patient, and its rows are the ones that stay."""
    rows = [catalog_row(i, source="first") for i in range(120)]
    named = [
        row.model_copy(update={"source": "second", "lesion_id": f"l{i // 2}", "source_row_id": f"copy-{i}"})
        for i, row in enumerate(rows)
    ]
    alone = [r.split for r in split(rows, added_later("first", "second"))]
    assert any(alone[i] != alone[i + 1] for i in range(0, 120, 2))
    found = [r.split for r in split(rows, added_later("first", "second"), copies=named)]
    assert all(found[i] == found[i + 1] for i in range(0, 120, 2))
    founders = [min((i, i + 1), key=lambda n: rows[n].image_id) for i in range(0, 120, 2)]
    assert all(alone[i] == found[i] for i in founders), "who came first stays"
    assert len(set(found)) == 3


def test_two_patients_with_the_same_picture_share_a_split() -> None:
    rows, copies = [], []
    for i in range(60):  # b's copy of a's picture stayed out at ingest; b has another one
        rows += [
            catalog_row(2 * i, source="first", patient_id=f"a{i}"),
            catalog_row(2 * i + 1, source="second", patient_id=f"b{i}"),
        ]
        copies.append(rows[2 * i].model_copy(update={"source": "second", "patient_id": f"b{i}"}))
    settings = added_later("first", "second")
    alone = {r.image_id: r.split for r in split(rows, settings)}
    found = {r.image_id: r.split for r in split(rows, settings, copies=copies)}
    for i in range(60):
        assert found[rows[2 * i].image_id] == found[rows[2 * i + 1].image_id]
    assert any(alone[rows[2 * i].image_id] != alone[rows[2 * i + 1].image_id] for i in range(60))
    assert all(found[rows[2 * i].image_id] == alone[rows[2 * i].image_id] for i in range(60)), "who came first stays"


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


@pytest.mark.parametrize("seed", [17, 18, 19])
def test_shares_are_met_in_every_stratum_within_the_stated_bound(seed: int) -> None:
    """The bound of docs/decisions/0008: 4 * sqrt(p * (1 - p) / n) of n groups, in each stratum; 1 in 16,000 by chance."""
    rows = [catalog_row(i, patient_id=f"p{i}", lesion=LESIONS[i % 4], fst=1 + i % 3) for i in range(12_000)]
    counts = Counter((r.lesion, r.fst, r.split) for r in split(rows, params(stratify={"seed": seed})))
    sizes = Counter((r.lesion, r.fst) for r in rows)
    assert len(sizes) == 12
    for (lesion, fst), n in sizes.items():
        for part, p in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
            assert abs(counts[lesion, fst, part] / n - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_a_chain_of_a_thousand_links_is_one_group_in_few_rounds(tmp_path: Path) -> None:
    order = sorted(range(1000), key=lambda i: hashlib.sha256(str(i).encode()).hexdigest())
    rows = [
        catalog_row(i, patient_id=f"p{order[i // 2]:04d}", lesion_id=f"l{(i + 1) // 2}") for i in range(2000)
    ]  # patient k has lesions k and k + 1
    workspace = fill(tmp_path, rows)
    with connect(workspace) as con:
        files = Files(
            catalog_files(workspace, "stratify"), copy_files(workspace, "stratify"), [str(workspace.clusters)]
        )
        rounds = group_owners(con, files, ["phantom"])
        assert con.execute("SELECT count(*), count(DISTINCT founder), min(founder) FROM grouped").fetchall() == [
            (1000, 1, "1:p0000")
        ]
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
