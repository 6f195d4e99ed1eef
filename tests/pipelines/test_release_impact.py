"""What used an image: models by their training.parquet, releases by their index, gates by what they were fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from release_workspace import CHECKPOINT, folder_of, make_params, make_workspace

from pipelines.ingest.pseudonym import salt_name, salted
from pipelines.ingest.withdrawn import read_withdrawn, write_withdrawn
from pipelines.release.build import write_release
from pipelines.release.impact import History, Version, Wanted, impact
from schemas.catalog import CatalogRow
from schemas.paths import Workspace
from schemas.table import read_rows, write_rows
from schemas.withdrawal import TRAINING, TrainingImageRow, WithdrawalKind, WithdrawalRow


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with one release of 32 real (20 train) and 5 synthetic images, and the model that made those."""
    space = make_workspace(tmp_path_factory.mktemp("used"))
    _trained(space)
    write_release(space, make_params())
    return space


def _trained(space: Workspace) -> None:
    used = [
        TrainingImageRow(image_id=r.image_id, source=r.source, patient_id=r.patient_id)
        for r in read_rows(space.splits, CatalogRow)
        if r.split == "train"
    ]
    write_rows(used, TrainingImageRow, space.model("diffusion") / TRAINING)


def one(space: Workspace, split: str) -> CatalogRow:
    return next(r for r in read_rows(space.splits, CatalogRow) if r.split == split)


def asked(*images: str) -> Wanted:
    return Wanted("these", frozenset(images))


def test_a_training_image_reaches_every_synthetic_image(space: Workspace) -> None:
    found = impact(space, asked(one(space, "train").image_id), History())
    (model,), (release,), (gates,) = found.models, found.releases, found.gates
    assert (model.checkpoint_sha256, model.images, model.training_images) == (CHECKPOINT, 1, 20)
    assert (release.name, release.version, release.pixels, release.train, release.synthetic) == (
        "tiny",
        "1.2.3",
        1,
        1,
        5,
    )
    assert gates.descendants == 5
    assert found.text().splitlines()[1:4] == [
        f"  model          diffusion {CHECKPOINT[:12]}: learned from 1 of them, among 20 (models/diffusion)",
        "  gates          production: 0 in the lesion probe and copy gate, 0 in the calibration; 5 accepted synthetic "
        "images descend",
        "  release        tiny 1.2.3: 1 with pixels, 1 in train, 5 synthetic images descend (releases/tiny)",
    ]


def test_a_test_image_reaches_no_synthetic_one(space: Workspace) -> None:
    found = impact(space, asked(one(space, "test").image_id), History())
    assert (found.models, found.gates) == ([], [])
    assert (found.releases[0].pixels, found.releases[0].test, found.releases[0].synthetic) == (1, 1, 0)


def test_nothing_used_it(space: Workspace) -> None:
    found = impact(space, asked("0" * 24), History())
    assert found.nothing
    assert found.text().splitlines() == [
        "these: 1 image meant",
        "  nothing used it",
        "  searched       this workspace: models, production/gates, production/ledger, releases",
    ]


def test_a_patient_is_known_by_the_salted_hash(space: Workspace) -> None:
    row = one(space, "train")
    assert row.patient_id is not None
    found = impact(space, Wanted("a patient", frozenset(), frozenset({row.patient_id})), History())
    mine = {r.image_id for r in read_rows(space.splits, CatalogRow) if r.patient_id == row.patient_id}
    learned = {r.image_id for r in read_rows(space.splits, CatalogRow) if r.image_id in mine and r.split == "train"}
    assert found.models[0].images == len(learned)
    assert found.releases[0].train == len(learned)


def test_the_list_alone_finds_what_the_catalog_no_longer_holds(tmp_path: Path) -> None:
    space = make_workspace(tmp_path)
    _trained(space)
    write_release(space, make_params())
    image = one(space, "train").image_id
    entry = WithdrawalRow(
        date="2026-11-22", dataset="phantom", kind=WithdrawalKind.IMAGE, digest=salted("s", "", "image", image),
        salt=salt_name("s"), reason="asked",
    )  # fmt: skip
    write_withdrawn(space, [entry])
    space.splits.unlink()
    (space.model("diffusion") / TRAINING).unlink()
    found = impact(space, Wanted("the list", frozenset(), withdrawn=read_withdrawn(space, "s")), History())
    assert found.images == [image]
    # The model does not say what it learned from; the release's own train split does, and the silence is told.
    assert (found.models, found.releases[0].synthetic) == ([], 5)
    assert found.not_searched == ["models/diffusion: an older checkpoint that does not say what it learned from"]


def test_a_model_that_is_known_not_to_have_used_it_clears_the_release(tmp_path: Path) -> None:
    space = make_workspace(tmp_path)
    write_release(space, make_params())
    other = TrainingImageRow(image_id="f" * 24, source="phantom", patient_id=None)
    write_rows([other], TrainingImageRow, space.model("diffusion") / TRAINING)
    found = impact(space, asked(one(space, "train").image_id), History())
    assert (found.releases[0].train, found.releases[0].synthetic) == (1, 0)


def test_one_release_in_several_places_is_one(space: Workspace) -> None:
    files = {p.relative_to(folder_of(space)).as_posix(): p for p in folder_of(space).rglob("*") if p.is_file()}
    earlier = [Version("releases/tiny (commit abc)", "tiny", files), Version("releases/lost (commit abc)", "lost", {})]
    found = impact(space, asked(one(space, "train").image_id), History(releases=earlier, searched=["git: 1"]))
    (release,) = found.releases
    assert release.where == ["releases/tiny", "releases/tiny (commit abc)"]
    assert found.not_searched == ["releases/lost (commit abc): no index.parquet"]
    assert found.searched[-1] == "git: 1"
    json.loads(found.model_dump_json())
