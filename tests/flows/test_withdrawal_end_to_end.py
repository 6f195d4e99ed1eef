"""A real workspace: built, a patient withdrawn, asked what used them, built again without them; and a drifting source."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.timeout(1500)

TABLE = "patient_id,lesion_id,age,gender,fitspatrick,region,diagnostic,img_id\n"


@dataclass
class Story:
    """What was said at each step."""

    folder: Path
    patient: str
    images: set[str]
    checkpoint: str
    unused: dict[str, Any]
    withdrawn: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def catalog(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "data/strata/catalog.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def story(new_workspace: Callable[[Path], Path], equiderm: Run, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = new_workspace(tmp_path_factory.mktemp("story"))
    said(equiderm(folder, "build", "--json", timeout=900))
    for command in (["add", "-A"], ["commit", "-qm", "built"], ["tag", "balanced@v0.1.0"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    rows = catalog(folder)
    someone = next(row for row in rows if row["split"] == "train")
    patient = _publishers_id(folder, someone["source_row_id"])
    images = {row["image_id"] for row in rows if row["patient_id"] == someone["patient_id"]}
    unused = said(equiderm(folder, "impact", "phantom", "f" * 24, "--json"))
    checkpoint = json.loads((folder / "models/diffusion/config.json").read_text())["sha256"]
    withdrawn = said(equiderm(folder, "withdraw", "phantom", "--patient", patient, "--why", "by letter", "--json"))
    before = said(equiderm(folder, "impact", "phantom", patient, "--json"))
    said(equiderm(folder, "build", "--json", timeout=900))
    after = said(equiderm(folder, "impact", "--withdrawn", "--json"))
    return Story(folder, patient, images, checkpoint, unused, withdrawn, before, after)


def _publishers_id(folder: Path, row_id: str) -> str:
    from pipelines.sources.registry import open_source
    from schemas.params import load_params
    from schemas.paths import Workspace

    params = load_params(folder / "params.yaml")
    reader = open_source("phantom", params.sources.use["phantom"], Workspace(folder))
    (row,) = reader.rows(int(row_id), int(row_id) + 1)
    assert row.facts is not None
    assert row.facts.patient is not None
    return row.facts.patient


def test_an_image_nobody_used(story: Story) -> None:
    assert (story.unused["models"], story.unused["releases"], story.unused["gates"]) == ([], [], [])
    assert story.unused["not_searched"] == []


def test_impact_names_the_models_the_gates_and_the_release(story: Story) -> None:
    assert story.withdrawn["rows"] >= len(story.images) == story.withdrawn["images"] >= 1
    used = {m["generator"]: m for m in story.before["models"]}
    assert set(used) == {"diffusion", "gan"}
    assert used["diffusion"]["checkpoint_sha256"] == story.checkpoint
    assert "models/diffusion" in used["diffusion"]["where"]
    assert set(story.before["images"]) == story.images
    (release,) = story.before["releases"]
    assert (release["name"], release["version"]) == ("balanced", "0.1.0")
    assert release["pixels"] == release["train"] == used["diffusion"]["images"] == len(story.images)
    index = pq.read_table(_old_index(story.folder), columns=["kind"])["kind"].to_pylist()
    assert release["synthetic"] == index.count("synthetic") > 0
    (gates,) = story.before["gates"]
    assert (gates["copy_gate"], gates["descendants"]) == (len(story.images), release["synthetic"])


def _old_index(folder: Path) -> Path:
    """The first release's index, in DVC's cache, by the dvc.lock of its tag."""
    import yaml

    lock = subprocess.check_output(["git", "show", "balanced@v0.1.0:dvc.lock"], cwd=folder, text=True)
    (out,) = yaml.safe_load(lock)["stages"]["release"]["outs"]
    cache = folder / ".dvc/cache/files/md5"
    listing = json.loads((cache / out["md5"][:2] / out["md5"][2:]).read_text())
    digest = next(entry["md5"] for entry in listing if entry["relpath"] == "index.parquet")
    return cache / digest[:2] / digest[2:]


def test_after_the_next_build_they_are_gone_from_everything_new(story: Story) -> None:
    folder = story.folder
    assert not story.images & {row["image_id"] for row in catalog(folder)}
    for table in (
        "models/diffusion/training.parquet",
        "models/gan/training.parquet",
        "releases/balanced/index.parquet",
    ):
        assert not story.images & set(pq.read_table(folder / table)["image_id"].to_pylist()), table
    refused = pq.read_table(folder / "data/quarantine").to_pylist()
    assert [row["raw"] for row in refused if row["code"] == "withdrawn"] == ["{}"] * story.withdrawn["rows"]
    text = (folder / "infra/withdrawn.csv").read_text() + str(refused)
    assert story.patient not in text
    assert not any(image in text for image in story.images)


def test_impact_still_names_the_old_models_and_release(story: Story) -> None:
    assert {m["generator"] for m in story.after["models"]} == {"diffusion", "gan"}
    assert {m["checkpoint_sha256"] for m in story.after["models"]} >= {story.checkpoint}
    (release,) = story.after["releases"]
    assert release["synthetic"] == story.before["releases"][0]["synthetic"]
    assert release["digest"] == story.before["releases"][0]["digest"]
    assert "balanced@v0.1.0" in release["where"][0]
    assert story.after["gates"] == []
    assert set(story.after["images"]) == story.images


def test_a_cache_that_lost_them_is_said(story: Story, equiderm: Run) -> None:
    index = _old_index(story.folder)
    aside = index.with_name("aside")
    index.rename(aside)
    try:
        found = said(equiderm(story.folder, "impact", "--withdrawn", "--json"))
    finally:
        aside.rename(index)
    assert found["releases"] == []
    assert any("releases/balanced" in line and "not in the local DVC cache" in line for line in found["not_searched"])


def test_a_build_stops_at_drift_until_it_is_accepted(workspace: Path, equiderm: Run) -> None:
    pad = workspace / "pad"
    (pad / "images").mkdir(parents=True)
    (pad / "images/P_1.png").write_bytes(b"not read here")
    rows = [f"P{n},{n},40,MALE,2.0,NOSE,{'MEL' if n < 4 else 'NEV'},P_{n}.png" for n in range(1, 41)]
    (pad / "metadata.csv").write_text(TABLE + "\n".join(rows), encoding="utf-8")
    text = (
        (workspace / "params.yaml")
        .read_text()
        .replace("  use:\n", "  use:\n    pad: {adapter: pad_ufes_20, path: pad}\n")
    )
    (workspace / "params.yaml").write_text(text, encoding="utf-8")
    first = equiderm(workspace, "sources")
    assert first.returncode == 0, first.stderr
    assert "pad: 40 rows (first use, recorded in infra/accepted/pad.json: commit it)" in first.stderr
    (pad / "metadata.csv").write_text(TABLE + "\n".join(rows[3:]), encoding="utf-8")
    second = equiderm(workspace, "build")
    assert second.returncode == 1
    line = second.stderr.splitlines()[-1]
    assert "label MEL: was 3 rows (7.5%), is 0 rows (0.0%) (lost; always stops a build)" in line
    assert "equiderm accept pad --by NAME --why TEXT" in line
    assert not (workspace / "data/catalog").exists()
    looked = equiderm(workspace, "accept", "pad")
    assert looked.returncode == 1
    assert "label MEL" in looked.stdout
    half = equiderm(workspace, "accept", "pad", "--by", "maria")
    assert (half.returncode, len(half.stderr.splitlines())) == (2, 1)
    done = said(equiderm(workspace, "accept", "pad", "--by", "maria", "--why", "publisher withdrew three", "--json"))
    assert (done["state"], done["accepted_by"]) == ("accepted", "maria")
    entries = json.loads((workspace / "infra/accepted/pad.json").read_text())
    assert [entry["by"] for entry in entries] == ["first use", "maria"]
    assert equiderm(workspace, "sources").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("impact",), "impact: got neither or both"),
        (("impact", "phantom"), "impact: got neither or both"),
        (("impact", "phantom", "x", "--withdrawn"), "impact: got neither or both"),
        (("impact", "nobody", "x"), "source nobody: not one of phantom"),
        (("accept", "nobody"), "source nobody: not one of phantom"),
        (("withdraw", "phantom", "--why", "x"), "withdraw: got 0 of --patient, --row and --image"),
        (("withdraw", "phantom", "--why", "x", "--row", "1", "--patient", "2"), "withdraw: got 2 of"),
        (("withdraw", "phantom", "--why", "x", "--row", "9999999"), "source phantom: no row with that id"),
    ],
)
def test_mistakes_are_one_line(workspace: Path, equiderm: Run, arguments: tuple[str, ...], line: str) -> None:
    done = equiderm(workspace, *arguments)
    assert done.returncode == 2
    (only,) = done.stderr.splitlines()
    assert line in only
    assert (workspace / "infra/withdrawn.csv").read_text().count("\n") == 1
