"""A release from a workspace written by hand: the same bytes each time, readable by everybody's tools."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from release_workspace import CHECKPOINT, THREE, contents, folder_of, make_params, make_workspace

from pipelines.release.build import write_release
from pipelines.release.lineage import learned_from
from pipelines.release.listing import list_releases
from pipelines.release.verify import verify_release
from schemas.catalog import CatalogRow, PixelRow
from schemas.ledger import AttemptRow, SyntheticRow
from schemas.paths import Workspace
from schemas.release import BalanceRow, IndexRow, QuarantineCountRow, ReleaseImageRow
from schemas.table import arrow_schema, read_rows, read_table, write_rows
from schemas.words import Split


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose release is written; read it, do not change it."""
    space = make_workspace(tmp_path_factory.mktemp("made"))
    write_release(space, make_params())
    return space


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


def test_the_same_inputs_give_the_same_bytes_however_they_lie_in_files(made: Workspace, space: Workspace) -> None:
    for part, kind in ((space.images, PixelRow), (space.ledger, AttemptRow), (space.shards, SyntheticRow)):
        rows = read_rows(part, kind)
        for file in part.glob("*.parquet"):
            file.unlink()
        write_rows(rows[::-1], kind, part / "other.parquet")
    first = write_release(space, make_params())
    assert contents(folder_of(space)) == contents(folder_of(made))
    assert write_release(space, make_params()) == first
    assert contents(folder_of(space)) == contents(folder_of(made))
    assert [p.name for p in space.releases.iterdir()] == ["tiny"]


def test_rows_that_dedupe_left_out_are_counted_with_those_of_ingest(made: Workspace) -> None:
    counted = read_rows(folder_of(made) / "quarantine.parquet", QuarantineCountRow)
    assert {(row.code, row.rows) for row in counted} == {("image_missing", 2), ("near_duplicate", 1)}
    assert json.loads((folder_of(made) / "release.json").read_text())["counts"]["quarantined"] == 3
    assert "| near_duplicate | 1 |" in (folder_of(made) / "datasheet.md").read_text()


def test_the_index_holds_every_image_once_with_its_split(made: Workspace) -> None:
    index = read_rows(folder_of(made) / "index.parquet", IndexRow)
    assert Counter((r.kind.value, r.split.value) for r in index) == {
        ("real", "train"): 20, ("real", "validation"): 6, ("real", "test"): 6, ("synthetic", "train"): 5,
    }  # fmt: skip
    assert len({r.image_id for r in index}) == 37
    kept = {r.image_id: r.split for r in read_rows(made.splits, CatalogRow)}
    assert {r.image_id: r.split for r in index if r.kind == "real"} == kept
    accepted = {r.image_id: r for r in read_rows(made.ledger, AttemptRow) if r.accepted}
    for row in (r for r in index if r.kind == "synthetic"):
        assert (row.seed_index, row.checkpoint_sha256) == (accepted[row.image_id].seed_index, CHECKPOINT)
        assert (row.source, row.support) == ("diffusion", "supported")


def test_strata_say_before_after_and_why(made: Workspace) -> None:
    rows = {(r.fst, r.lesion.value): r for r in read_rows(folder_of(made) / "strata.parquet", BalanceRow)}
    melanoma, nevus = rows[6, "melanoma"], rows[6, "nevus"]
    assert (melanoma.n_real, melanoma.n_synthetic, melanoma.n_after, melanoma.shortfall, melanoma.missing) == (
        6,
        5,
        11,
        1,
        1,
    )
    assert melanoma.reason == "5 of 6 passed in 10 attempts; most often refused by the tone gate (3)"
    assert (nevus.quota, nevus.shortfall, nevus.missing) == (0, 0, 10)
    assert nevus.reason == "2 real training images, 4 needed to learn from"
    assert rows[2, "nevus"].reason is None


def test_gates_are_the_whole_ledger(made: Workspace) -> None:
    gates = read_rows(folder_of(made) / "gates.parquet", AttemptRow)
    assert sorted(gates, key=lambda r: r.image_id) == sorted(
        read_rows(made.ledger, AttemptRow), key=lambda r: r.image_id
    )


def test_datasets_decodes_the_shards_without_our_code(
    made: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    files = {split: str(folder_of(made) / f"data/{split}-*.parquet") for split in ("train", "validation", "test")}
    data = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in data.items()} == {"train": 25, "validation": 6, "test": 6}
    assert isinstance(data["train"].features["image"], datasets.Image)
    originals = {r.image_id: r.image.bytes for part, kind in ((made.images, PixelRow), (made.shards, SyntheticRow))
                 for r in read_rows(part, kind)}  # fmt: skip
    from pipelines.imaging.normalise import decode_png

    for row in data["train"]:
        assert (np.array(row["image"]) == decode_png(originals[row["image_id"]])).all()


def test_duckdb_and_pyarrow_read_it(made: Workspace) -> None:
    folder = folder_of(made)
    query = f"SELECT kind, count(*) FROM '{folder}/data/train-*.parquet' GROUP BY ALL ORDER BY ALL"
    assert duckdb.sql(query).fetchall() == [("real", 20), ("synthetic", 5)]
    files = sorted(folder.glob("data/*.parquet"))
    assert [f.name for f in files][:3] == [
        "test-real-00000.parquet",
        "train-real-00000.parquet",
        "train-real-00001.parquet",
    ]
    assert [pq.read_metadata(f).num_rows for f in folder.glob("data/train-real-*")].count(8) == 2
    for file in files:
        assert pq.read_schema(file).types == arrow_schema(ReleaseImageRow).types
        assert pq.read_schema(file).names == arrow_schema(ReleaseImageRow).names
        ids = pq.read_table(file)["image_id"].to_pylist()
        assert ids == sorted(ids)


def test_row_groups_have_the_length_that_was_asked_for(space: Workspace) -> None:
    many = (replace(THREE[0], real=250),)
    shutil.rmtree(space.root)
    space = make_workspace(space.root, many)
    write_release(space, make_params(shard_rows=1000, row_group_rows=64))
    metadata = pq.read_metadata(folder_of(space) / "data/train-real-00000.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [64, 64, 22]


def test_sha256sum_agrees(made: Workspace) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder_of(made), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == len(contents(folder_of(made))) - 1


def test_lineage_leads_from_every_synthetic_image_to_its_sources(made: Workspace) -> None:
    document = json.loads((folder_of(made) / "lineage.json").read_text())
    index = read_rows(folder_of(made) / "index.parquet", IndexRow)
    for row in (r for r in index if r.kind == "synthetic"):
        assert document["entity"][f"equiderm:checkpoint/{row.checkpoint_sha256}"]["equiderm:generator"] == row.source
        assert learned_from(document, row.checkpoint_sha256) == [
            {"source": "phantom", "licence": "CC0-1.0", "images": 20}
        ]
    for row in (r for r in index if r.kind == "real"):
        assert f"equiderm:source/{row.source}" in document["entity"]


def test_lineage_relations_join_things_that_are_in_it(made: Workspace) -> None:
    document = json.loads((folder_of(made) / "lineage.json").read_text())
    known = set().union(*(document[kind] for kind in ("entity", "activity", "agent")))
    ends = {"used": 2, "wasGeneratedBy": 2, "wasDerivedFrom": 2, "wasAssociatedWith": 2, "wasInformedBy": 2}
    for kind, number in ends.items():
        for relation in document[kind].values():
            named = [value for key, value in relation.items() if key.startswith("prov:")]
            assert len(named) == number
            assert set(named) <= known
    assert all(re.fullmatch("[0-9a-f]{64}", a["equiderm:params_sha256"]) for a in document["activity"].values())


def test_the_datasheet_answers_under_the_published_headings(made: Workspace) -> None:
    text = (folder_of(made) / "datasheet.md").read_text()
    assert re.findall("^## (.*)$", text, re.M) == [
        "Motivation", "Composition", "Collection process", "Preprocessing, cleaning, labelling", "Uses", "Distribution",
        "Maintenance",
    ]  # fmt: skip
    assert "These are drawings, not patients" in text
    assert "| phantom/VI/melanoma | 6 | 5 | 11 | 12 | supported |" in text
    assert "37: 32 real (20 train, 6 validation,\n6 test) and 5 synthetic" in text
    assert "{{" not in text
    assert "{%" not in text


def test_images_that_may_not_be_shared_are_listed_without_pixels(tmp_path: Path) -> None:
    space = make_workspace(tmp_path, source="clinic", licence="CC-BY-NC-4.0", allows=("derive",))
    result = write_release(space, make_params())
    index = read_rows(folder_of(space) / "index.parquet", IndexRow)
    assert {r.kind.value for r in index if r.shard} == {"synthetic"}
    assert [f.name for f in sorted(folder_of(space).glob("data/*"))] == ["train-synthetic-00000.parquet"]
    assert {r.licence for r in index} == {"CC-BY-NC-4.0"}
    assert result.facts.counts["withheld"] == 32
    assert result.facts.licence_allows == ["derive"]
    assert "32 real images are in index.parquet without pixels" in (folder_of(space) / "datasheet.md").read_text()
    assert "real images of" not in (folder_of(space) / "report.html").read_text()
    assert verify_release(folder_of(space)).passed


def test_a_workspace_without_synthetic_images_gives_a_release(tmp_path: Path) -> None:
    space = make_workspace(tmp_path, (THREE[0],))
    result = write_release(space, make_params())
    assert (result.facts.counts["synthetic"], result.facts.generators) == (0, [])
    assert read_table(folder_of(space) / "gates.parquet", AttemptRow).num_rows == 0
    assert Split.TEST in {r.split for r in read_rows(folder_of(space) / "index.parquet", IndexRow)}
    assert "Nothing was generated" in (folder_of(space) / "report.html").read_text()
    assert verify_release(folder_of(space)).passed


def test_unknown_skin_type_is_a_stratum_of_its_own(tmp_path: Path) -> None:
    plans = tuple(replace(plan, fst=None) for plan in THREE[:2])
    space = make_workspace(tmp_path, plans)
    write_release(space, make_params())
    rows = read_rows(folder_of(space) / "strata.parquet", BalanceRow)
    assert [(r.fst, r.lesion.value, r.n_synthetic) for r in rows] == [(None, "melanoma", 5), (None, "nevus", 0)]
    assert verify_release(folder_of(space)).passed
    assert "FST unknown" in (folder_of(space) / "report.html").read_text()


def test_releases_are_listed_with_what_they_hold(space: Workspace) -> None:
    assert list_releases(space) == []
    result = write_release(space, make_params())
    (entry,) = list_releases(space)
    assert (entry.name, entry.version, entry.licence) == ("tiny", "1.2.3", "CC0-1.0")
    assert (entry.counts["images"], entry.bytes, entry.digest, entry.verified) == (
        37,
        result.bytes,
        result.digest,
        True,
    )
    (folder_of(space) / "release.json").write_text("{")
    (entry,) = list_releases(space)
    assert (entry.version, entry.counts, entry.verified) == (None, {}, False)
    assert list_releases(space, rehash=False)[0].verified is None
