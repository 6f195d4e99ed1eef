"""Strata: every cell is counted, also those nobody is in; the three files are complete, typed and repeatable."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalog_rows import catalog_row, fill, params

import pipelines.stratify.strata as stage
from pipelines.stratify.strata import StratifyResult, stratify
from schemas.catalog import CatalogRow
from schemas.errors import CheckFailed, WorkspaceError
from schemas.paths import Workspace
from schemas.strata import QuotaRow, StratumRow
from schemas.table import read_rows
from schemas.words import Support, stratum_name

SETTINGS = params(
    stratify={
        "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
        "support": {"supported": 20, "borrowed": 4},
        "quotas": {"per_stratum": 30},
    }
)


def mixed() -> list[CatalogRow]:
    """60 phantoms of FST 2 and 6, 30 dermoscopic images of unknown FST, 10 clinical ones of which 4 are unknown."""
    rows = [
        catalog_row(i, fst=2 if i % 6 else 6, lesion="melanoma" if i % 3 else "nevus", ita_deg=float(i))
        for i in range(60)
    ]
    unknown = {"fst": None, "fst_source": None}
    rows += [
        catalog_row(
            100 + i, source="ham", modality="dermoscopic", lesion="vascular_lesion" if i else "nevus", **unknown
        )
        for i in range(30)
    ]
    rows += [
        catalog_row(200 + i, source="pad", modality="clinical", **(unknown if i < 4 else {"fst": 3}), ita_deg=None)
        for i in range(10)
    ]
    return rows


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, StratifyResult]:
    workspace = fill(tmp_path_factory.mktemp("mixed"), mixed(), shard_rows=40)
    return workspace, stratify(workspace, SETTINGS)


def test_every_cell_is_listed_once(done: tuple[Workspace, StratifyResult]) -> None:
    listed = [stratum_name(s.modality, s.fst, s.lesion) for s in done[1].strata]
    phantom = [f"phantom/{f}/{x}" for f in ("I", "II", "III", "IV", "V", "VI") for x in ("melanoma", "nevus")]
    clinical = [f"clinical/{f}/nevus" for f in ("I", "II", "III", "IV", "V", "VI", "?")]
    assert listed == [*clinical, "dermoscopic/?/nevus", "dermoscopic/?/vascular_lesion", *phantom]


def test_counts_are_the_catalogs(done: tuple[Workspace, StratifyResult]) -> None:
    workspace, result = done
    rows = read_rows(workspace.splits, CatalogRow)
    found = Counter((r.modality, r.fst, r.lesion, r.split) for r in rows)
    for s in result.strata:
        cell = (s.modality, s.fst, s.lesion)
        counts = (s.n_train, s.n_validation, s.n_test)
        assert counts == tuple(found[(*cell, split)] for split in ("train", "validation", "test"))  # type: ignore[comparison-overlap]
        assert s.n_real == sum(counts)
        assert s.share == s.n_real / sum(r.modality == s.modality for r in rows)
        level = "supported" if s.n_train >= 20 else "borrowed" if s.n_train >= 4 else "unsupported"
        assert s.support == Support(level)
    assert sum(s.n_real for s in result.strata) == len(rows) == 100


def test_tone_pools_the_lesions_of_the_training_images(done: tuple[Workspace, StratifyResult]) -> None:
    workspace, result = done
    rows = read_rows(workspace.splits, CatalogRow)
    for s in result.strata:
        if s.modality != "phantom":
            continue
        angles = [r.ita_deg for r in rows if (r.modality, r.fst, r.split) == (s.modality, s.fst, "train")]
        expected = np.quantile(angles, [0.05, 0.5, 0.95]) if angles else [None] * 3
        assert [s.ita_p05, s.ita_p50, s.ita_p95] == pytest.approx(list(expected))


EVERYONE = params(stratify={"split": {"train": 1, "validation": 0, "test": 0}})


def test_tone_is_null_without_a_measurement(tmp_path: Path) -> None:
    first, *_ = stratify(fill(tmp_path, [catalog_row(i, ita_deg=None, fst=1) for i in range(5)]), EVERYONE).strata
    assert (first.n_train, first.ita_p05, first.ita_p50, first.ita_p95) == (5, None, None, None)


def test_tone_ignores_nan_though_parquet_statistics_hide_it(tmp_path: Path) -> None:
    angles = [50.0, float("nan"), 52.0, float("nan"), 54.0]
    first, *_ = stratify(
        fill(tmp_path, [catalog_row(i, ita_deg=a, fst=1) for i, a in enumerate(angles)]), EVERYONE
    ).strata
    assert (first.ita_p05, first.ita_p50, first.ita_p95) == pytest.approx((50.2, 52, 53.8))


def test_files_hold_the_result_under_the_declared_schemas(done: tuple[Workspace, StratifyResult]) -> None:
    workspace, result = done
    assert tuple(read_rows(workspace.strata, StratumRow)) == result.strata
    assert tuple(read_rows(workspace.quotas, QuotaRow)) == result.quotas
    before = {r.image_id: r for r in mixed()}
    for row in read_rows(workspace.splits, CatalogRow):
        assert row.model_copy(update={"split": None}) == before[row.image_id]
    assert sorted(p.name for p in workspace.strata.parent.iterdir()) == [
        "catalog.parquet",
        "quotas.parquet",
        "strata.parquet",
    ]


def digests(workspace: Workspace) -> list[str]:
    return [hashlib.sha256(p.read_bytes()).hexdigest() for p in (workspace.splits, workspace.strata, workspace.quotas)]


def test_the_same_files_give_the_same_bytes(done: tuple[Workspace, StratifyResult], tmp_path: Path) -> None:
    again = fill(tmp_path, mixed(), shard_rows=7)
    stratify(again, SETTINGS)
    assert digests(again) == digests(done[0])
    stratify(again, SETTINGS)
    assert digests(again) == digests(done[0])


def test_the_same_rows_in_another_order_give_the_same_splits_strata_and_quotas(
    done: tuple[Workspace, StratifyResult], tmp_path: Path
) -> None:
    shuffled = fill(tmp_path, mixed()[::-1], shard_rows=7)
    stratify(shuffled, SETTINGS)
    assert digests(shuffled)[1:] == digests(done[0])[1:]
    by_id = [sorted(read_rows(w.splits, CatalogRow), key=lambda r: r.image_id) for w in (shuffled, done[0])]
    assert by_id[0] == by_id[1]


def test_without_the_table_of_duplicates_it_says_what_to_run(tmp_path: Path) -> None:
    workspace = fill(tmp_path, mixed())
    workspace.clusters.unlink()
    with pytest.raises(
        WorkspaceError, match=r"data/duplicates/clusters\.parquet: not there; .* `equiderm dedupe` first"
    ):
        stratify(workspace, SETTINGS)


def test_without_the_list_of_copies_it_says_what_to_run(tmp_path: Path) -> None:
    workspace = fill(tmp_path, mixed())
    (workspace.copies / "a.parquet").unlink()
    with pytest.raises(WorkspaceError, match=r"data/copies: got no Parquet file; stratify must know .* `equiderm ing"):
        stratify(workspace, SETTINGS)


def test_a_long_catalog_is_cut_into_the_same_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.stratify.splits.ROW_GROUP", 2500)
    rows = [catalog_row(i) for i in range(6000)]
    workspace = fill(tmp_path, rows)
    stratify(workspace, SETTINGS)
    footer = pq.ParquetFile(workspace.splits).metadata
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [2500, 2500, 1000]
    assert pq.read_table(workspace.splits)["source_row_id"].to_pylist() == [r.source_row_id for r in rows]


def test_the_summary_is_one_line(done: tuple[Workspace, StratifyResult]) -> None:
    result = done[1]
    t = result.totals
    assert t["need"] - t["quota"] == t["beyond_quota"] > 0
    assert result.summary == (
        f"100 images (train {t['train']}, validation {t['validation']}, test {t['test']}) in 21 strata "
        f"({t['supported']} supported, {t['borrowed']} borrowed, {t['unsupported']} unsupported); "
        f"{t['quota']} synthetic images to make of {t['need']} needed"
    )
    assert result.model_dump(mode="json")["totals"] == t


def test_an_empty_catalog_has_no_strata(tmp_path: Path) -> None:
    result = stratify(fill(tmp_path, []), SETTINGS)
    assert result.strata == ()
    assert result.quotas == ()


def test_no_catalog_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as caught:
        stratify(Workspace(tmp_path), SETTINGS)
    assert str(caught.value) == (
        "data/catalog: got no Parquet file; stratify needs a catalog; run `equiderm ingest` first"
    )


def test_a_foreign_table_in_the_catalog_is_refused(tmp_path: Path) -> None:
    workspace = fill(tmp_path, mixed())
    pq.write_table(pa.table({"image_id": ["x"]}), workspace.catalog / "stray.parquet")
    with pytest.raises(CheckFailed, match=r"stray\.parquet: columns \['image_id'\] are not the declared ones"):
        stratify(workspace, SETTINGS)


def test_a_failure_leaves_the_old_files_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = fill(tmp_path, mixed())
    stratify(workspace, SETTINGS)
    before = digests(workspace)

    def broken(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(stage, "allocate", broken)
    with pytest.raises(RuntimeError, match="disk full"):
        stratify(workspace, params(stratify={"seed": 99}))
    assert digests(workspace) == before
    assert len(list(workspace.strata.parent.iterdir())) == 3
