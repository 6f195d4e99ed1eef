"""The stage on phantoms with planted copies: what is found, who stays, what is said, and that every row is accounted for."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from catalog_rows import catalog_row, write_copies
from numpy.typing import NDArray
from PIL import Image as Pillow

from pipelines.dedupe.clusters import components, judge
from pipelines.dedupe.find import find_duplicates
from pipelines.imaging.normalise import encode_png, image_id, normalise
from pipelines.phantoms.scene import draw
from pipelines.stratify.strata import stratify
from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.duplicates import ClusterRow, PairRow
from schemas.errors import CheckFailed, WorkspaceError
from schemas.params import Params, parse_params
from schemas.paths import Workspace
from schemas.source_params import PhantomSource
from schemas.table import Image, read_rows, write_rows

Pixels = NDArray[np.uint8]
SOURCE = PhantomSource(count=40, seed=5, resolution=128)
COUNT = 24


def jpeg(image: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Pillow.open(buffer))


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "mirrored": lambda image: image[:, ::-1],
    "a quarter turn": lambda image: np.rot90(image),
    "transposed": lambda image: image.transpose(1, 0, 2),
    "jpeg at 70": lambda image: jpeg(image, 70),
    "three quarters of the size": lambda image: np.array(
        Pillow.fromarray(image).resize((96, 96), Pillow.Resampling.LANCZOS)
    ),
    "darker": lambda image: (image * 0.85).astype(np.uint8),
    "brighter, turned and jpeg": lambda image: jpeg(
        np.clip(np.rot90(image, 2) * 1.08 + 4, 0, 255).astype(np.uint8), 80
    ),
}


@pytest.fixture(scope="module")
def originals() -> list[Pixels]:
    return [draw(SOURCE, index).pixels for index in range(COUNT)]


Entry = tuple[Pixels, dict[str, Any]]


def filled(root: Path, entries: Sequence[Entry]) -> Workspace:
    """A workspace as ingest leaves it, with these pictures and columns."""
    workspace = Workspace(root)
    rows, pixels = [], []
    for number, (image, columns) in enumerate(entries):
        square = normalise(np.ascontiguousarray(image), None, 64).pixels
        name = image_id(square)
        rows.append(catalog_row(number, image_id=name, **columns))
        pixels.append(PixelRow(image_id=name, image=Image(bytes=encode_png(square), path=f"{name}.png"), mask=None))
    for start in range(0, len(rows), 20):
        write_rows(rows[start : start + 20], CatalogRow, workspace.catalog / f"{start:05d}.parquet")
        write_rows(pixels[start : start + 20], PixelRow, workspace.images / f"{start:05d}.parquet")
    write_copies(workspace)
    return workspace


def settings(**dedupe: Any) -> Params:
    use = {name: {"adapter": "phantom"} for name in ("first", "second")}
    return parse_params({"sources": {"use": use}, "dedupe": dedupe}, "params.yaml")


def planted(originals: Sequence[Pixels], **changes: Any) -> list[Entry]:
    """All originals in `second`, and a copy of the first ones in `first`, in as many ways as there are."""
    copies = [(make(originals[i]), {"source": "first", **changes}) for i, make in enumerate(COPIES.values())]
    return [*((image, {"source": "second"}) for image in originals), *copies]


def test_every_copy_is_found_and_no_other_phantom(tmp_path: Path, originals: list[Pixels]) -> None:
    workspace = filled(tmp_path, planted(originals))
    result = find_duplicates(workspace, settings())
    confirmed = [p for p in read_rows(workspace.duplicates / "pairs.parquet", PairRow) if p.confirmed]
    assert result.pairs_confirmed == len(confirmed) == len(COPIES)
    clusters = read_rows(workspace.clusters, ClusterRow)
    assert (result.clusters, result.clustered) == (len(COPIES), 2 * len(COPIES))
    rows = {r.image_id: r for r in read_rows(workspace.catalog, CatalogRow)}
    ids = list(rows)
    for i, kind in enumerate(COPIES):
        pair = {ids[i], ids[COUNT + i]}
        (names,) = {frozenset(c.image_id for c in clusters if c.dup_cluster == min(pair))}
        assert names == pair, kind
    assert {c.source for c in clusters if c.kept} == {"first"}, "the first source of params.yaml stays"


def test_rows_in_are_rows_used_and_quarantine_and_the_second_row_is_named(
    tmp_path: Path, originals: list[Pixels]
) -> None:
    workspace = filled(tmp_path, planted(originals))
    result = find_duplicates(workspace, settings())
    refused = read_rows(workspace.duplicates / "quarantine.parquet", QuarantineRow)
    assert result.quarantine == {"near_duplicate": len(COPIES)}
    used = stratify(workspace, settings()).totals["real"]
    assert used + len(refused) == COUNT + len(COPIES)
    assert workspace.quarantined == [workspace.duplicates / "quarantine.parquet"]
    for i, row in enumerate(sorted(refused, key=lambda r: r.source_row_id)):
        assert row.message == (
            f"second row row-{i:06d} shows the same picture as first row row-{COUNT + i:06d}, which stays; each picture "
            "enters once; drop one row, or set dedupe.policy: keep_all_one_split"
        )
        assert json.loads(row.raw)["source_row_id"] == row.source_row_id


def test_keep_all_keeps_all_and_the_splits_keep_them_together(tmp_path: Path, originals: list[Pixels]) -> None:
    workspace = filled(tmp_path, planted(originals))
    keep = settings(policy="keep_all_one_split")
    assert find_duplicates(workspace, keep).quarantine == {}
    stratify(workspace, keep)
    rows = read_rows(workspace.splits, CatalogRow)
    assert len(rows) == COUNT + len(COPIES)
    assert len({(r.dup_cluster, r.split) for r in rows if r.dup_cluster}) == len(COPIES)
    assert sum(r.dup_cluster is not None for r in rows) == 2 * len(COPIES)


@pytest.mark.parametrize("policy", ["keep_one", "keep_all_one_split"])
def test_two_diagnoses_for_one_picture_put_both_rows_out_and_name_both(
    tmp_path: Path, originals: list[Pixels], policy: str
) -> None:
    workspace = filled(tmp_path, planted(originals, lesion="melanoma"))
    result = find_duplicates(workspace, settings(policy=policy))
    assert result.quarantine == {"label_conflict": 2 * len(COPIES)}
    for row in read_rows(workspace.duplicates / "quarantine.parquet", QuarantineRow):
        assert row.code == "label_conflict"
        assert "first row row-" in row.message
        assert "second row row-" in row.message
        assert "(melanoma)" in row.message
        assert "(nevus)" in row.message
    assert not any(c.kept for c in read_rows(workspace.clusters, ClusterRow))
    assert stratify(workspace, settings()).totals["real"] == COUNT - len(COPIES)


def test_photos_of_one_lesion_are_a_series_and_not_duplicates(tmp_path: Path, originals: list[Pixels]) -> None:
    same = {"source": "second", "patient_id": "p", "lesion_id": "l"}
    entries = [(originals[0], same), (COPIES["mirrored"](originals[0]), same)]
    workspace = filled(tmp_path, entries)
    assert find_duplicates(workspace, settings()).clusters == 0
    (pair,) = read_rows(workspace.duplicates / "pairs.parquet", PairRow)
    assert pair.same_lesion
    assert not pair.confirmed


@pytest.mark.parametrize(("lesion", "code"), [("nevus", "near_duplicate"), ("melanoma", "label_conflict")])
def test_one_lesion_in_two_sources_is_no_series_and_its_labels_are_compared(
    tmp_path: Path, originals: list[Pixels], lesion: str, code: str
) -> None:
    """Sources of one archive share lesion ids; the same file read in two ways has other pixels in each."""
    entries = [
        (originals[0], {"source": "first", "lesion_id": "l"}),
        (COPIES["jpeg at 70"](originals[0]), {"source": "second", "lesion_id": "l", "lesion": lesion}),
    ]
    workspace = filled(tmp_path, entries)
    assert find_duplicates(workspace, settings()).quarantine == {code: 2 if code == "label_conflict" else 1}
    (pair,) = read_rows(workspace.duplicates / "pairs.parquet", PairRow)
    assert pair.confirmed
    assert not pair.same_lesion


def test_a_copy_in_another_source_does_not_make_a_series_duplicates(tmp_path: Path, originals: list[Pixels]) -> None:
    """Both photos of the series are near the later source's picture: that one goes, the series stays whole."""
    series = {"source": "first", "lesion_id": "l"}
    entries = [
        (originals[0], series),
        (COPIES["mirrored"](originals[0]), series),
        (COPIES["jpeg at 70"](originals[0]), {"source": "second"}),
    ]
    workspace = filled(tmp_path, entries)
    assert find_duplicates(workspace, settings()).quarantine == {"near_duplicate": 1}
    clusters = read_rows(workspace.clusters, ClusterRow)
    assert {(c.source, c.kept) for c in clusters} == {("first", True), ("second", False)}
    assert len(clusters) == 3


@pytest.mark.parametrize("policy", ["keep_one", "keep_all_one_split"])
def test_an_exact_copy_with_another_diagnosis_takes_the_picture_and_its_near_copies_out(
    tmp_path: Path, originals: list[Pixels], policy: str
) -> None:
    entries = [
        (originals[0], {"source": "first"}),
        (originals[1], {"source": "first"}),
        (originals[2], {"source": "first"}),
        (COPIES["jpeg at 70"](originals[0]), {"source": "second"}),
    ]
    workspace = filled(tmp_path, entries)
    rows = read_rows(workspace.catalog, CatalogRow)
    exact = {"source": "second", "lesion": "melanoma"}
    write_copies(
        workspace,
        [
            catalog_row(90, image_id=rows[0].image_id, **exact),
            catalog_row(91, image_id=rows[1].image_id, **exact),
            catalog_row(92, image_id=rows[1].image_id, source="second"),
            catalog_row(93, image_id=rows[2].image_id, source="second"),
        ],
    )
    result = find_duplicates(workspace, settings(policy=policy))
    assert result.quarantine == {"label_conflict": 3}
    refused = {r.source_row_id: r for r in read_rows(workspace.duplicates / "quarantine.parquet", QuarantineRow)}
    assert set(refused) == {"row-000000", "row-000001", "row-000003"}
    assert refused["row-000001"].message == (
        "first row row-000001 (nevus) shows the same picture as second row row-000091 (melanoma), second row row-000092 "
        "(nevus); one picture needs one diagnosis; correct or drop the wrong row in its source"
    )
    assert "second row row-000090 (melanoma)" in refused["row-000003"].message
    assert stratify(workspace, settings(policy=policy)).totals["real"] == 1


def test_without_the_list_of_exact_copies_it_says_what_to_run(tmp_path: Path, originals: list[Pixels]) -> None:
    workspace = filled(tmp_path, [(originals[0], {"source": "first"})])
    (workspace.copies / "a.parquet").unlink()
    with pytest.raises(WorkspaceError, match=r"data/copies: got no Parquet file; dedupe must know .* `equiderm ing"):
        find_duplicates(workspace, settings())


def test_the_order_of_the_catalog_means_nothing(tmp_path: Path, originals: list[Pixels]) -> None:
    def digests(entries: Sequence[Entry], folder: str) -> list[str]:
        workspace = filled(tmp_path / folder, entries)
        find_duplicates(workspace, settings())
        names = ("clusters", "quarantine", "pairs")
        return [hashlib.sha256((workspace.duplicates / f"{n}.parquet").read_bytes()).hexdigest() for n in names]

    entries = [
        (image, {**c, "source_row_id": f"r{i}", "source_sha256": "0"})
        for i, (image, c) in enumerate(planted(originals))
    ]
    assert digests(entries, "a")[:2] == digests(entries[::-1], "b")[:2]


def test_a_catalog_row_without_pixels_is_refused(tmp_path: Path, originals: list[Pixels]) -> None:
    workspace = filled(tmp_path, planted(originals))
    (workspace.images / "00020.parquet").unlink()
    with pytest.raises(
        CheckFailed, match=r"data/images: no pixels for 11 of 31 catalog rows, first [0-9a-f]+; .*ingest"
    ):
        find_duplicates(workspace, settings())


def test_an_empty_catalog_has_no_duplicates(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_rows([], CatalogRow, workspace.catalog / "a.parquet")
    write_rows([], PixelRow, workspace.images / "a.parquet")
    write_copies(workspace)
    assert find_duplicates(workspace, settings()).images == 0
    assert read_rows(workspace.clusters, ClusterRow) == []


def test_pairs_that_touch_are_one_cluster_and_a_long_message_still_names_the_other_diagnosis() -> None:
    groups = components(np.array([0, 1, 5, 2, 3, 4, 6]), np.array([1, 2, 7, 3, 4, 6, 8]), 10)
    assert groups == [[0, 1, 2, 3, 4, 6, 8], [5, 7]]
    rows = {i: catalog_row(i, source="first", lesion="melanoma" if i == 8 else "nevus") for i in range(10)}
    verdict = judge(rows, groups, "keep_one", ["first"], {})
    assert [c.kept for c in verdict.clusters] == [False] * 7 + [True, False]
    assert all("melanoma" in q.message for q in verdict.quarantine if q.code == "label_conflict")
    assert "and 1 more" in verdict.quarantine[0].message
