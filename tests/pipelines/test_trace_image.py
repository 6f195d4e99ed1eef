"""trace: what is known of one image, as text compared with golden files and as fields."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from release_workspace import CHECKPOINT, make_params, make_workspace

from pipelines.release.build import write_release
from pipelines.release.trace import trace_image
from schemas.catalog import CatalogRow
from schemas.errors import NotFoundError
from schemas.ledger import AttemptRow
from schemas.paths import Workspace
from schemas.table import read_rows

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    found = make_workspace(tmp_path_factory.mktemp("traced"))
    write_release(found, make_params())
    return found


@pytest.fixture(scope="module")
def pulled(space: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that holds the release and nothing it was built from."""
    found = Workspace(tmp_path_factory.mktemp("pulled"))
    shutil.copytree(space.releases, found.releases)
    return found


def attempt(space: Workspace, reason: str | None) -> AttemptRow:
    rows = sorted(read_rows(space.ledger, AttemptRow), key=lambda r: r.seed_index)
    return next(r for r in rows if r.reason == reason)


def real(space: Workspace) -> CatalogRow:
    return read_rows(space.splits, CatalogRow)[0]


@pytest.mark.parametrize("name", ["accepted", "refused", "surplus", "real", "pulled_accepted", "pulled_real"])
def test_the_text_is_as_agreed(space: Workspace, pulled: Workspace, name: str) -> None:
    chosen = {"accepted": attempt(space, None), "refused": attempt(space, "tone"), "surplus": attempt(space, "surplus")}
    row = chosen.get(name.removeprefix("pulled_"), real(space))
    text = trace_image(pulled if name.startswith("pulled_") else space, row.image_id).text()
    golden = GOLDEN / f"trace_{name}.txt"
    assert text + "\n" == golden.read_text(encoding="utf-8"), f"{golden.name} says otherwise; got:\n{text}"


def test_a_synthetic_image_leads_to_its_model_and_sources(space: Workspace, pulled: Workspace) -> None:
    row = attempt(space, None)
    for where in (space, pulled):
        found = trace_image(where, row.image_id)
        assert found.synthetic is not None
        assert (found.synthetic.checkpoint_sha256, found.synthetic.seed_index) == (CHECKPOINT, row.seed_index)
        assert found.synthetic.sampler == {"guidance_tone": 1.5, "request_deg": [-55.0, -34.0], "steps": 16}
        assert [(t.source, t.images, t.licence) for t in found.synthetic.training] == [("phantom", 20, "CC0-1.0")]
        assert (found.releases, found.licence, found.split) == (["tiny 1.2.3"], "CC0-1.0", "train")
    assert trace_image(space, row.image_id) == trace_image(pulled, row.image_id)


def test_a_real_image_leads_to_its_source_file(space: Workspace) -> None:
    row = real(space)
    found = trace_image(space, row.image_id)
    assert found.real is not None
    assert (found.real.source_row_id, found.real.source_sha256) == (row.source_row_id, row.source_sha256)
    assert found.real.patient_id == row.patient_id


def test_an_id_may_be_cut_short_upper_case_or_a_file_name(space: Workspace) -> None:
    full = real(space).image_id
    for given in (full[:10], full.upper(), f"{full}.png", f" {full} "):
        assert trace_image(space, given).image_id == full


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "ffffffffffffffffffffffff",
            r"in no release here \(tiny\), nor in the catalog or ledger; .* check it, or pull",
        ),
        ("", r"image \(nothing\): in no release here"),
        ("0", r"image 0: fits \d images \(.*\.\.\.\); one is needed; give more digits"),
    ],
)
def test_an_id_that_fits_none_or_several_is_one_helpful_line(space: Workspace, given: str, said: str) -> None:
    with pytest.raises(NotFoundError, match=said) as caught:
        trace_image(space, given)
    assert "\n" not in str(caught.value)


def test_an_empty_workspace_knows_no_image(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"in no release here \(none\)"):
        trace_image(Workspace(tmp_path), "abc")


def test_before_any_release_the_workspace_is_asked(tmp_path: Path) -> None:
    space = make_workspace(tmp_path)
    found = trace_image(space, attempt(space, None).image_id)
    assert found.releases == []
    assert found.synthetic is not None
    assert [t.images for t in found.synthetic.training] == [20]
    assert "none yet" in found.text()
