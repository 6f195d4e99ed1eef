"""The publishers' own tables: every row is counted, every label known, every verdict on malignancy agreed or excused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from pipelines.ingest.plan import plan_shards
from pipelines.ingest.settle import settle_catalog
from pipelines.ingest.shard import ingest_shard
from pipelines.sources.registry import open_sources
from schemas.catalog import QuarantineRow
from schemas.params import Params, parse_params
from schemas.paths import Workspace
from schemas.table import read_table
from schemas.taxonomy import read_taxonomy
from schemas.words import Malignancy

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here: the files are not ours")

PUBLISHED = {
    "pad_ufes_20": 2298, "ham10000": 10015, "isic2018_task3": 1512 + 193, "isic2019": 25331, "isic2020": 33126,
    "fitzpatrick17k": 16577,
}  # fmt: skip

DISAGREES = {"actinic keratosis", "prurigo nodularis"}
"""Labels of Fitzpatrick17k whose partition is not ours; taxonomy.csv says why."""


def example(images: str | None = None) -> Params:
    given = yaml.safe_load((ROOT / "infra/examples/metadata.yaml").read_text(encoding="utf-8"))
    for source in given["sources"]["use"].values():
        source["path"] = str(DATA / Path(source["path"]).relative_to("../shared/data"))
        if images:
            source["images"] = images
    return parse_params(given, "metadata.yaml")


def test_every_published_row_is_counted_and_has_a_known_label(tmp_path: Path) -> None:
    # Without the two sets' images, whose decoding tests/pipelines/test_ingest_public_data.py does.
    params, workspace = example("none"), Workspace(tmp_path)
    for plan in plan_shards(workspace, params):
        ingest_shard(workspace, params, plan)
    result = settle_catalog(workspace, params)
    assert {name: count.rows for name, count in result.sources.items()} == PUBLISHED
    assert result.rows == result.quarantine == sum(PUBLISHED.values())
    quarantine = {name: count.quarantine for name, count in result.sources.items()}
    assert quarantine == {
        "pad_ufes_20": {"image_missing": 2298},
        "ham10000": {"image_missing": 10015},
        "isic2018_task3": {"image_missing": 1705},
        "isic2019": {"image_missing": 25331},
        "isic2020": {"duplicate_listed": 425, "image_missing": 5995, "label_unknown": 26706},
        "fitzpatrick17k": {"image_missing": 16560, "label_disputed": 17},
    }
    raw = read_table(workspace.quarantine, QuarantineRow, ["raw"]).column("raw")
    assert all(isinstance(json.loads(text.as_py()), dict) for text in raw.slice(0, 100))


def test_every_label_of_the_real_tables_is_in_the_taxonomy_and_nothing_else(tmp_path: Path) -> None:
    known = read_taxonomy()
    for name, reader in open_sources(Workspace(tmp_path), example("none")).items():
        found = set(reader.fingerprint()["labels"]) - {""}
        listed = {label for source, label in known if source == name}
        assert found <= listed, name
        assert listed - found <= {"UNK"}, name  # a column of ISIC 2019 that no training image uses


def test_malignancy_agrees_with_fitzpatrick17k_but_for_the_stated_labels() -> None:
    with (DATA / "metadata/fitzpatrick17k/fitzpatrick17k.csv").open(encoding="utf-8", newline="") as handle:
        partition = {row["label"]: row["three_partition_label"] for row in csv.DictReader(handle)}
    assert len(partition) == 114
    ours = {
        Malignancy.BENIGN: "benign", Malignancy.MALIGNANT: "malignant", Malignancy.NON_NEOPLASTIC: "non-neoplastic",
    }  # fmt: skip
    known = read_taxonomy()
    differ = {
        label for label, theirs in partition.items() if ours.get(known[("fitzpatrick17k", label)].malignancy) != theirs
    }
    assert differ == DISAGREES
    assert all("partition" in known[("fitzpatrick17k", label)].note for label in DISAGREES)


def test_lesions_of_ham10000_are_the_same_in_isic_2019(tmp_path: Path) -> None:
    readers = open_sources(Workspace(tmp_path), example("none"))
    assert {readers[name].id_space for name in ("ham10000", "isic2018_task3", "isic2019", "isic2020")} == {"isic"}
    lesions = {
        name: {row.values["lesion_id"] for row in readers[name]._table.rows} for name in ("ham10000", "isic2019")
    }
    shared = (lesions["ham10000"] & lesions["isic2019"]) - {""}
    assert len(shared) > 7000


def test_the_example_holds_every_section_that_the_graph_reads() -> None:
    # DVC reads the whole params.yaml even where one stage runs.
    named = yaml.safe_load((ROOT / "infra/examples/metadata.yaml").read_text(encoding="utf-8"))
    other = yaml.safe_load((ROOT / "infra/examples/ham10000.yaml").read_text(encoding="utf-8"))
    assert set(named) == set(other)
