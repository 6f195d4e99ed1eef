"""When a release is not written: inputs that disagree, a stage that has not run, an interrupted run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from release_workspace import contents, folder_of, make_params, make_workspace

from pipelines.release import build
from pipelines.release.build import write_release
from pipelines.release.listing import list_releases
from schemas.catalog import CatalogRow, PixelRow
from schemas.errors import CheckFailed, NotFoundError
from schemas.ledger import SyntheticRow
from schemas.paths import Workspace
from schemas.strata import QuotaRow
from schemas.table import Row, read_rows, write_rows


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


def rewrite(path: Path, kind: type[Row], change) -> None:
    """Replace a table's rows by change(rows)."""
    write_rows(change(read_rows(path, kind)), kind, path)


def test_a_source_that_forbids_derived_images_stops_it(tmp_path: Path) -> None:
    space = make_workspace(tmp_path, source="clinic", licence="CC-BY-NC-4.0", allows=("share",))
    with pytest.raises(CheckFailed, match=r"source clinic: its licence CC-BY-NC-4\.0 does not allow derived images"):
        write_release(space, make_params())


def drop_first(rows: list[Row]) -> list[Row]:
    return rows[1:]


def add_a_stranger(space: Workspace) -> None:
    def change(rows: list[SyntheticRow]) -> list[SyntheticRow]:
        return [*rows, rows[0].model_copy(update={"image_id": "f" * 24})]

    rewrite(space.shards / "b.parquet", SyntheticRow, change)


def lower_quotas(space: Workspace) -> None:
    rewrite(space.quotas, QuotaRow, lambda rows: [row.model_copy(update={"quota": 0}) for row in rows])


def unsplit_a_row(space: Workspace) -> None:
    rewrite(space.splits, CatalogRow, lambda rows: [rows[0].model_copy(update={"split": None}), *rows[1:]])


def measure_other_images(space: Workspace) -> None:
    path = space.evaluation / "metrics.json"
    path.write_text(path.read_text().replace('"accepted": 5', '"accepted": 4'))


DISAGREEMENTS = {
    "pixels gone": (
        lambda space: rewrite(space.shards / "b.parquet", SyntheticRow, drop_first),
        "stratum phantom/VI/melanoma: the ledger accepted 5 images, production/shards hold 4",
    ),
    "pixels nobody accepted": (add_a_stranger, "1 images that the ledger did not accept, the first is ffff"),
    "above the quota": (lower_quotas, "phantom/VI/melanoma: 5 synthetic images, its quota is 0"),
    "real pixels gone": (
        lambda space: rewrite(space.images / "a.parquet", PixelRow, drop_first),
        "1 rows without exactly one picture in data/images",
    ),
    "no split": (unsplit_a_row, "catalog: 1 rows without a split"),
    "an id twice": (
        lambda space: rewrite(space.splits, CatalogRow, lambda rows: [*rows, rows[0]]),
        "in the release twice",
    ),
    "other metrics": (
        measure_other_images,
        "stratum phantom/VI/melanoma: measured on 4 accepted images, the ledger has 5",
    ),
}


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_inputs_that_disagree_stop_it_and_keep_the_old_release(space: Workspace, name: str) -> None:
    damage, message = DISAGREEMENTS[name]
    folder_of(space).mkdir(parents=True)
    (folder_of(space) / "old").write_text("old")
    damage(space)
    with pytest.raises(CheckFailed, match=re.escape(message)) as caught:
        write_release(space, make_params())
    assert "\n" not in str(caught.value)
    assert contents(space.releases) == {"tiny/old": b"old"}


@pytest.mark.parametrize("missing", ["splits", "images", "quotas", "ledger", "evaluation"])
def test_a_stage_that_has_not_run_is_named(space: Workspace, missing: str) -> None:
    path = getattr(space, missing)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(NotFoundError, match="run `equiderm "):
        write_release(space, make_params())
    assert not space.releases.exists()


def test_an_interrupted_run_leaves_nothing_and_keeps_the_old_release(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(folder: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "seal", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_release(space, make_params())
    assert list(space.releases.iterdir()) == []
    write_release(space, make_params())
    before = contents(space.releases)
    with monkeypatch.context() as patch:
        patch.setattr(build, "seal", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_release(space, make_params())
    assert contents(space.releases) == before


def test_leftovers_of_a_killed_run_are_cleared(space: Workspace) -> None:
    (space.releases / ".tiny.partial/data").mkdir(parents=True)
    (space.releases / ".tiny.partial/data/train-real-00000.parquet").write_bytes(b"half")
    (space.releases / ".tiny.previous").mkdir()
    assert list_releases(space) == []
    write_release(space, make_params())
    assert [p.name for p in space.releases.iterdir()] == ["tiny"]
