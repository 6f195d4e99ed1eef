"""A release says what all its sources together allow, and ships no pixel that may not be shared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from release_workspace import folder_of, make_params, make_workspace

from pipelines.release.build import write_release
from pipelines.train.data import load_training_set
from schemas.catalog import CatalogRow, PixelRow
from schemas.errors import CheckFailed
from schemas.paths import Workspace
from schemas.release import IndexRow
from schemas.table import read_rows, write_rows
from schemas.words import Split


def mixed(root: Path, licence: str, allows: Sequence[str]) -> tuple[Workspace, set[str]]:
    """A workspace in which every second real image is of another source with that licence, and those images' ids."""
    space = make_workspace(root)
    rows = read_rows(space.splits, CatalogRow)
    change = {"source": "clinic", "licence": licence, "licence_allows": list(allows)}
    rows = [row.model_copy(update=change) if n % 2 else row for n, row in enumerate(rows)]
    write_rows(rows, CatalogRow, space.splits)
    return space, {row.image_id for row in rows if row.source == "clinic"}


def test_what_a_mixed_release_allows_is_the_intersection_everywhere(tmp_path: Path) -> None:
    space, _ = mixed(tmp_path, "CC-BY-NC-SA-3.0", ["derive", "share"])
    facts = write_release(space, make_params()).facts
    assert (facts.licence, facts.licence_allows) == ("CC-BY-NC-SA-3.0", ["derive", "share"])
    folder = folder_of(space)
    entities = json.loads((folder / "lineage.json").read_text())["entity"]
    assert entities["equiderm:release/tiny/1.2.3"]["equiderm:licence_allows"] == ["derive", "share"]
    assert entities["equiderm:source/clinic"]["equiderm:licence_allows"] == ["derive", "share"]
    assert entities["equiderm:source/phantom"]["equiderm:licence_allows"] == ["commercial", "derive", "share"]
    (checkpoint,) = (e for name, e in entities.items() if name.startswith("equiderm:checkpoint/"))
    assert checkpoint["equiderm:licence"] == "CC-BY-NC-SA-3.0"
    assert "All of them together allow:\nderive, share." in (folder / "datasheet.md").read_text()
    assert "| clinic | 16 | CC-BY-NC-SA-3.0 | derive, share | yes |" in (folder / "datasheet.md").read_text()
    assert "all of them together allow:\nderive, share." in (folder / "report.html").read_text()
    licences = {r.licence for r in read_rows(folder / "index.parquet", IndexRow) if r.kind == "synthetic"}
    assert licences == {"CC-BY-NC-SA-3.0"}


def test_pixels_that_may_not_be_shared_are_in_no_file_of_the_release(tmp_path: Path) -> None:
    space, closed = mixed(tmp_path, "CC-BY-NC-4.0", ["derive"])
    result = write_release(space, make_params())
    index = read_rows(folder_of(space) / "index.parquet", IndexRow)
    assert {row.image_id for row in index if row.shard is None} == closed
    assert result.facts.counts["withheld"] == len(closed) == 16
    shipped = {
        row["image_id"]: row["image"]["bytes"]
        for file in (folder_of(space) / "data").glob("*.parquet")
        for row in _rows(file)
    }
    assert not closed & shipped.keys()
    hidden = {r.image.bytes for r in read_rows(space.images, PixelRow) if r.image_id in closed}
    assert not hidden & set(shipped.values())
    page = (folder_of(space) / "report.html").read_text()
    from base64 import b64encode

    assert not any(b64encode(png).decode() in page for png in hidden)
    assert "share" not in result.facts.licence_allows


def _rows(file: Path) -> list[dict[str, dict[str, bytes]]]:
    import pyarrow.parquet as pq

    found: list[dict[str, dict[str, bytes]]] = pq.read_table(file).to_pylist()
    return found


def test_pixels_that_may_be_shared_but_not_changed_stay_out_too(tmp_path: Path) -> None:
    space, closed = mixed(tmp_path, "CC-BY-NC-4.0", ["commercial", "share"])
    rows = read_rows(space.splits, CatalogRow)
    write_rows(
        [r.model_copy(update={"split": Split.TEST}) if r.source == "clinic" else r for r in rows],
        CatalogRow,
        space.splits,
    )
    write_release(space, make_params())
    index = read_rows(folder_of(space) / "index.parquet", IndexRow)
    assert {row.image_id for row in index if row.shard is None} == closed


def test_nothing_is_trained_on_what_may_not_be_derived(tmp_path: Path) -> None:
    space, _ = mixed(tmp_path, "CC-BY-ND-4.0", ["commercial", "share"])
    with pytest.raises(CheckFailed, match=r"the licence of clinic \(CC-BY-ND-4\.0\) does not allow derived images"):
        load_training_set(space, 0.5)


def test_a_model_fine_tuned_from_others_weights_brings_their_terms(tmp_path: Path) -> None:
    space = make_workspace(tmp_path)
    file = space.model("diffusion") / "config.json"
    weights = {"path": "bases/sd", "hub": None, "sha256": "c" * 64, "licence": "LicenseRef-CreativeML-OpenRAIL-M"}
    file.write_text(json.dumps({**json.loads(file.read_text()), "base": weights}))
    facts = write_release(space, make_params()).facts
    assert facts.licence == "LicenseRef-CreativeML-OpenRAIL-M", (
        "of licences that allow the same, the one that restricts"
    )
    lineage = json.loads((folder_of(space) / "lineage.json").read_text())
    entity = lineage["entity"][f"equiderm:weights/{'c' * 64}"]
    assert (entity["equiderm:path"], entity["equiderm:licence"]) == ("bases/sd", weights["licence"])
    derived = [r for r in lineage["wasDerivedFrom"].values() if r["prov:usedEntity"] == f"equiderm:weights/{'c' * 64}"]
    assert [r["prov:generatedEntity"].split("/")[0] for r in derived] == ["equiderm:checkpoint"]
