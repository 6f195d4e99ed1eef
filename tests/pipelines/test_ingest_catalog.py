"""From files to the settled catalog: identities, duplicates, crashes, reruns."""

from __future__ import annotations

import pickle
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import pad_params, photo, png, row, run_ingest, tree, with_copies, write_pad

from pipelines.imaging.normalise import decode_png, image_id
from pipelines.ingest import settle
from pipelines.ingest.plan import plan_shards, shard_bounds
from pipelines.ingest.pseudonym import pseudonym
from pipelines.ingest.settle import settle_catalog
from pipelines.ingest.shard import ingest_shard, staging
from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.errors import CheckFailed
from schemas.paths import Workspace
from schemas.table import read_rows


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return with_copies(tmp_path)


def test_counts_add_up_and_every_code_is_named(workspace: Workspace) -> None:
    found = run_ingest(workspace, pad_params())
    count = found.sources["pad"]
    assert (count.rows, count.files_without_row, count.catalog) == (8, 1, 5)
    assert count.quarantine == {"duplicate_pixels": 1, "file_without_row": 1, "image_missing": 1, "label_conflict": 1}
    assert (found.rows, found.catalog, found.quarantine) == (8, 5, 4)


def test_catalog_pixels_and_files_agree(workspace: Workspace) -> None:
    run_ingest(workspace, pad_params())
    catalog, images = read_rows(workspace.catalog, CatalogRow), read_rows(workspace.images, PixelRow)
    assert [r.image_id for r in catalog] == [r.image_id for r in images]
    for entry, image in zip(catalog, images, strict=True):
        pixels = decode_png(image.image.bytes)
        assert pixels.shape == (16, 16, 3)
        assert image_id(pixels) == entry.image_id
        assert entry.patient_id != f"P{entry.source_row_id[2]}"
        assert (entry.width, entry.height, entry.fst, entry.age_band) == (40, 40, 3, "40-49")
        assert (entry.split, entry.dup_cluster, entry.mask) == (None, None, False)


def test_rows_that_go_side_by_side_do_as_they_would_alone(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(n, diagnostic=("NEV", "nothing", "MEL")[n % 3]) for n in range(1, 40)]
    files = {f"P_{n}.png": png(photo(n)) for n in range(1, 40) if n % 5}
    files |= {"P_8.png": b"not a picture", "P_12.png": png(photo(12, (9, 9))), "P_18.png": png(photo(18))[:300]}
    write_pad(workspace.root, rows, files)
    run_ingest(workspace, pad_params(shard_rows=40))
    side_by_side = tree(workspace.root / "data")
    codes = {r.code for r in read_rows(workspace.quarantine, QuarantineRow)}
    assert codes >= {"image_missing", "label_unmapped", "not_an_image", "too_small", "truncated"}
    shutil.rmtree(workspace.root / "data")
    monkeypatch.setattr("pipelines.ingest.shard.TOGETHER", 1)
    run_ingest(workspace, pad_params(shard_rows=40))
    assert tree(workspace.root / "data") == side_by_side


def test_shards_of_any_size_give_the_same_catalog(workspace: Workspace) -> None:
    run_ingest(workspace, pad_params(shard_rows=1))
    small = read_rows(workspace.catalog, CatalogRow), read_rows(workspace.quarantine, QuarantineRow)
    assert len(list(workspace.catalog.iterdir())) == 5
    run_ingest(workspace, pad_params(shard_rows=100))
    whole = read_rows(workspace.catalog, CatalogRow), read_rows(workspace.quarantine, QuarantineRow)
    assert small[0] == whole[0]
    assert sorted(map(str, small[1])) == sorted(map(str, whole[1]))


def test_files_hold_shard_rows_rows_and_declare_no_more(workspace: Workspace) -> None:
    run_ingest(workspace, pad_params(shard_rows=4))
    counts = [pq.read_metadata(p).num_rows for p in sorted(workspace.images.iterdir())]
    assert counts == [2, 2, 1]  # half of shard_rows or more, but for the last


def test_a_rerun_gives_the_same_bytes(workspace: Workspace) -> None:
    first = run_ingest(workspace, pad_params())
    files = tree(workspace.root / "data")
    shutil.rmtree(workspace.root / "data")
    assert run_ingest(workspace, pad_params()) == first
    assert tree(workspace.root / "data") == files


def test_settling_again_changes_nothing(workspace: Workspace) -> None:
    first = run_ingest(workspace, pad_params())
    files = tree(workspace.root / "data")
    assert settle_catalog(workspace, pad_params()) == first
    assert tree(workspace.root / "data") == files
    assert [p.name for p in staging(workspace).iterdir()] == [p.name for p in staging(workspace).glob("settled-*.json")]


def test_a_deleted_output_is_made_again(workspace: Workspace) -> None:
    run_ingest(workspace, pad_params())
    files = tree(workspace.root / "data")
    shutil.rmtree(workspace.images)
    run_ingest(workspace, pad_params())
    assert tree(workspace.root / "data") == files


def test_a_kill_in_a_shard_leaves_nothing_and_finished_shards_are_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = plan_shards(workspace, pad_params())
    ingest_shard(workspace, pad_params(), plans[0])
    calls = []
    real = ingest_shard.__globals__["write_rows"]

    def dies(*args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setitem(ingest_shard.__globals__, "write_rows", dies)
        with pytest.raises(KeyboardInterrupt):
            ingest_shard(workspace, pad_params(), plans[1])
    with pytest.raises(CheckFailed, match="3 of 4 shards are not there, first pad rows 2 to 4"):
        settle_catalog(workspace, pad_params())
    assert not workspace.catalog.exists()
    before = {p: p.stat().st_mtime_ns for p in (staging(workspace) / "shards").glob(f"{plans[0].key}*")}
    result = run_ingest_keeping(workspace)
    assert result.sources["pad"].catalog == 5
    assert len(before) == 4


def run_ingest_keeping(workspace: Workspace) -> settle.IngestResult:
    """Ingest again; a shard that is there must not be read again."""
    plans = plan_shards(workspace, pad_params())
    marks = {p.key: (staging(workspace) / f"shards/{p.key}.json") for p in plans}
    done = {key: path.stat().st_mtime_ns for key, path in marks.items() if path.exists()}
    for plan in plans:
        ingest_shard(workspace, pad_params(), plan)
    assert done == {key: marks[key].stat().st_mtime_ns for key in done}
    assert len(done) == 1
    return settle_catalog(workspace, pad_params())


@pytest.mark.parametrize("swaps", [0, 1, 2, 3])
def test_a_kill_while_settling_is_mended_by_a_rerun(
    workspace: Workspace, swaps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ingest(workspace, pad_params())
    files = tree(workspace.root / "data")
    shutil.rmtree(workspace.root / "data")
    write_pad(workspace.root, [row(1)], {})
    run_ingest(workspace, pad_params())  # an older catalog is there
    write_pad(workspace.root, [*[row(n) for n in range(1, 6)], row(6, diagnostic="MEL"), row(7), row(8)], {})
    done: list[Path] = []
    real = settle._swap

    def dies(new: Path, target: Path) -> None:
        if len(done) == swaps:
            raise KeyboardInterrupt
        done.append(target)
        real(new, target)

    with monkeypatch.context() as patch:
        patch.setattr(settle, "_swap", dies)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(workspace, pad_params())
    run_ingest(workspace, pad_params())
    without = {k: v for k, v in tree(workspace.root / "data").items() if not k.startswith(".ingest")}
    assert without == {k: v for k, v in files.items() if not k.startswith(".ingest")}


def test_a_kill_between_swaps_is_never_taken_for_the_build_before(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ingest(workspace, pad_params())
    files = tree(workspace.root / "data")
    real = settle._swap

    def dies_after_catalog(new: Path, target: Path) -> None:
        if target != workspace.catalog:
            raise KeyboardInterrupt
        real(new, target)

    with monkeypatch.context() as patch:
        patch.setattr(settle, "_swap", dies_after_catalog)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(workspace, pad_params(salt="other"))
    run_ingest(workspace, pad_params())
    assert tree(workspace.root / "data") == files


def test_other_parameters_or_files_are_other_shards(workspace: Workspace) -> None:
    keys = {plan_shards(workspace, pad_params(**settings))[0].key for settings in (
        {}, {"resolution": 17}, {"salt": "x"}, {"max_pixels": 10}, {"workers": 7},
    )}  # fmt: skip
    assert len(keys) == 4  # workers decide nothing
    (workspace.root / "pad/images/P_1.png").write_bytes(png(photo(77)))
    keys.add(plan_shards(workspace, pad_params())[0].key)
    assert len(keys) == 5


def test_masks_move_the_crop_and_enter_the_tables(workspace: Workspace) -> None:
    wide, mask = photo(30, (80, 40)), np.zeros((40, 80, 3), np.uint8)
    mask[10:20, 60:75] = (253, 231, 36)
    mask[mask.sum(axis=2) == 0] = (68, 1, 84)
    folder = write_pad(workspace.root, [row(1), row(2), row(3)], {"P_1.png": png(wide), "P_3.png": png(wide[:, :39])})
    (folder / "masks").mkdir()
    (folder / "masks/P_1_mask.png").write_bytes(png(mask))
    (folder / "masks/P_2_mask.png").write_bytes(b"no mask")
    (folder / "masks/P_3_mask.png").write_bytes(png(mask))
    found = run_ingest(workspace, pad_params())
    assert found.sources["pad"].quarantine["mask_not_an_image"] == 1
    assert found.sources["pad"].quarantine["mask_size_differs"] == 1
    (entry,) = read_rows(workspace.catalog, CatalogRow)
    (image,) = read_rows(workspace.images, PixelRow)
    assert entry.mask
    assert image.mask is not None
    kept = decode_png(image.mask.bytes)
    assert set(np.unique(kept)) == {0, 255}
    assert (kept > 0).mean() == pytest.approx(150 / 1600, abs=0.03)


def test_a_plan_travels_to_another_process(workspace: Workspace) -> None:
    packed = pickle.dumps((workspace, pad_params(), plan_shards(workspace, pad_params())[0]))
    assert len(packed) < 20_000
    assert ingest_shard(*pickle.loads(packed)).catalog == 2


@settings(deadline=None)
@given(rows=st.integers(0, 20_000), size=st.integers(1, 700))
def test_shards_are_even_and_fill_their_files(rows: int, size: int) -> None:
    bounds = shard_bounds(rows, size)
    lengths = [stop - start for start, stop in pairwise(bounds)]
    assert (bounds[0], bounds[-1], sum(lengths)) == (0, rows, rows)
    assert all(1 <= n <= size for n in lengths)
    assert max(lengths, default=0) - min(lengths, default=0) <= 1
    if rows > size:
        assert 2 * min(lengths) >= size or 2 * (min(lengths) + 1) > size >= 2 * min(lengths)


def test_shards_come_in_fours_where_their_files_stay_half_full() -> None:
    assert [len(shard_bounds(rows, 500)) - 1 for rows in (0, 1, 500, 501, 1000, 1200, 2347)] == [0, 1, 1, 2, 4, 4, 8]


def test_pseudonyms_agree_within_a_dataset_and_a_workspace_only() -> None:
    name = pseudonym("s", "pad_ufes_20", "patient", "P1")
    assert name == pseudonym("s", "pad_ufes_20", "patient", "P1")
    others = {("t", "pad_ufes_20", "patient", "P1"), ("s", "ham10000", "patient", "P1"),
              ("s", "pad_ufes_20", "lesion", "P1"), ("s", "pad_ufes_20", "patient", "P2")}  # fmt: skip
    assert len({name, *(pseudonym(*other) for other in others)}) == 5
    assert pseudonym("s", "pad_ufes_20", "patient", None) is None
