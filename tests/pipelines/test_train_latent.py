"""Whole trainings on learned autoencoders, small: gate, checkpoint, card; and what is refused before any of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from catalog_rows import catalog_row
from tiny_diffusers import copying_autoencoder, tiny_stable_diffusion

from pipelines.generators.registry import load_generator
from pipelines.imaging.normalise import encode_png
from pipelines.phantoms.scene import ITA_DRAWN_DEG, render
from pipelines.produce.plan import plan_production
from pipelines.train.memory import memory_explained
from pipelines.train.run import train_generator
from schemas.catalog import CatalogRow, PixelRow
from schemas.errors import CheckFailed, CheckpointError, ParamsError
from schemas.params import Params, SamplerParams, parse_params
from schemas.paths import Workspace
from schemas.strata import QuotaRow, StratumRow
from schemas.table import Image, write_rows
from schemas.words import FST_RANGE, Lesion, Split

WIDE = {"min_images": 2, "colour_gap": 100, "ita_gap_deg": 180, "perceptual_gap": 1}


def filled(root: Path, lesions: tuple[Lesion, ...] = (Lesion.NEVUS, Lesion.MELANOMA)) -> Workspace:
    """Return a workspace with a phantom of every skin type and lesion in each of two splits."""
    workspace = Workspace(root)
    rows, stored = [], []
    for split in (Split.TRAIN, Split.VALIDATION):
        for fst in FST_RANGE:
            for lesion in lesions:
                seed = [fst, len(rows)]
                tone = float(np.mean(ITA_DRAWN_DEG[fst]))
                picture = render(np.random.default_rng(seed), lesion, tone, 0.025, 64)[0]
                rows.append(
                    catalog_row(len(rows), fst=fst, split=split, lesion=lesion, licence="CC0-1.0", ita_deg=tone)
                )
                name = rows[-1].image_id
                stored.append(PixelRow(image_id=name, image=Image(bytes=encode_png(picture), path=name), mask=None))
    write_rows(rows, CatalogRow, workspace.splits)
    write_rows(stored, PixelRow, workspace.images / "0.parquet")
    (root / "params.yaml").touch()
    (root / "dvc.yaml").touch()
    return workspace


def params_of(**train: Any) -> Params:
    return parse_params({"sources": {"use": {"phantom": {"adapter": "phantom"}}}, "train": train}, "test")


def test_stable_diffusion_trains_measures_its_autoencoder_and_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    workspace = filled(tmp_path)
    monkeypatch.chdir(tmp_path)
    base = tiny_stable_diffusion(tmp_path / "bases/tiny").model_copy(update={"path": "bases/tiny"})
    own = {"base": base.model_dump(), "rank": 2, "images": 8, "batch": 4, "mixed_precision": "no", "round_trip": WIDE}
    own["watch"] = {"least_diversity": 0}  # two steps
    result = train_generator("stable_diffusion", workspace, params_of(stable_diffusion=own))
    assert (result.images, result.start, result.reused) == (8, "pretrained", False)
    card = (result.folder / "card.md").read_text()
    assert f"bases/tiny, sha256 `{base.sha256}`, LicenseRef-CreativeML-OpenRAIL-M; here are its adapters" in card
    assert "| dark, FST IV-VI | 6 |" in card
    config = json.loads((result.folder / "config.json").read_text())
    assert config["licences"] == ["CC0-1.0", "LicenseRef-CreativeML-OpenRAIL-M"]
    assert json.loads((result.folder / "round_trip.json").read_text())["groups"][0]["images"] == 2
    assert (result.folder / "sheets/final.png").is_file()
    again = train_generator("stable_diffusion", workspace, params_of(stable_diffusion=own))
    assert again.reused
    assert again.checkpoint_sha256 == result.checkpoint_sha256
    generator = load_generator(result.folder, SamplerParams(steps=1))
    assert generator.settings["base"] == base.sha256


def latent(folder: Path, darkens: bool) -> dict[str, Any]:
    autoencoder = copying_autoencoder(folder, darkens).model_dump()
    tiny = {"images": 2, "batch": 2, "start": "scratch", "mixed_precision": "no", "round_trip": {"min_images": 5}}
    return {"space": "latent", "autoencoder": autoencoder, **tiny}


def test_a_latent_model_is_not_trained_on_an_autoencoder_that_darkens_dark_skin(tmp_path: Path) -> None:
    workspace = filled(tmp_path / "w")
    with pytest.raises(CheckFailed, match=r"gives back dark skin worse than light: colour difference"):
        train_generator("diffusion", workspace, params_of(diffusion=latent(tmp_path / "vae", darkens=True)))
    assert [f.name for f in workspace.model("diffusion").iterdir()] == ["round_trip.json"]


@pytest.mark.parametrize("n", [1, 4])
def test_one_image_or_one_lesion_is_refused(tmp_path: Path, n: int) -> None:
    workspace = Workspace(tmp_path)
    rows = [catalog_row(i, split=Split.TRAIN) for i in range(n)]
    blank = encode_png(np.full((64, 64, 3), 128, np.uint8))
    stored = [PixelRow(image_id=r.image_id, image=Image(bytes=blank, path="x"), mask=None) for r in rows]
    write_rows(rows, CatalogRow, workspace.splits)
    write_rows(stored, PixelRow, workspace.images / "0.parquet")
    with pytest.raises(CheckFailed, match=rf"train: {n} images of nevus in the train split; .*add a source or map its"):
        train_generator("diffusion", workspace, params_of())


def test_running_out_of_memory_is_one_line_and_other_errors_pass() -> None:
    said = r"train gan: out of memory at batch 8 of 64 px; lower batch; a changed training starts anew"
    with pytest.raises(ParamsError, match=said), memory_explained("gan", 8, 64, "lower batch"):
        torch.empty(10**16, dtype=torch.uint8)
    with pytest.raises(ParamsError, match=said), memory_explained("gan", 8, 64, "lower batch"):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="shapes"), memory_explained("gan", 8, 64, "lower batch"):
        raise RuntimeError("shapes differ")


class Anything:
    """A generator of that name and size; it is never asked to draw here."""

    name, resolution, checkpoint_sha256, settings = "gan", 64, "0" * 64, {}


def test_quotas_for_a_lesion_the_checkpoint_has_not_seen_are_refused(tmp_path: Path) -> None:
    workspace = filled(tmp_path)
    cell = {"modality": "phantom", "fst": 2, "lesion": "melanoma", "support": "borrowed"}
    counts = {"n_real": 2, "n_train": 1, "n_validation": 1, "n_test": 0, "share": 0.1}
    tones = {"ita_p05": 42.0, "ita_p50": 45.0, "ita_p95": 50.0}
    wanted = {"target": 9, "have": 1, "need": 8, "cap": 10, "quota": 8, "reason": None}
    write_rows([StratumRow.model_validate({**cell, **counts, **tones})], StratumRow, workspace.strata)
    write_rows([QuotaRow.model_validate({**cell, **wanted})], QuotaRow, workspace.quotas)
    workspace.model("gan").mkdir(parents=True)
    for name, text in (("model.safetensors", ""), ("config.json", '{"lesions": ["nevus"]}')):
        (workspace.model("gan") / name).write_text(text)
    with pytest.raises(
        CheckpointError, match=r"models/gan: trained on nevus; quotas ask for melanoma; train it on this"
    ):
        plan_production(workspace, params_of(), Anything())  # type: ignore[arg-type]


def test_what_a_build_names_and_does_not_have_is_said_before_it_starts(tmp_path: Path) -> None:
    from flows.checks import check_params

    shutil.copy(Path(__file__).parents[2] / "dvc.yaml", tmp_path)
    source = "sources: {use: {phantom: {adapter: phantom}}}\nrelease: {name: balanced}\n"
    ours, theirs = "produce: {generator: diffusion}\n", "produce: {generator: stable_diffusion}\n"
    pinned = "{path: none/here, sha256: " + "a" * 64 + ", licence: CC0-1.0}"
    latent = "{space: latent, start: scratch, autoencoder: " + pinned + "}"
    wanted = {
        theirs + "train: {use: [stable_diffusion]}": r"train\.stable_diffusion\.base: none; stable_diffusion is to be",
        theirs + "train: {use: [stable_diffusion], stable_diffusion: {base: " + pinned + "}}":
            r"train\.stable_diffusion\.base: no folder none/here; needs one as diffusers saves it; put it there",
        ours + "train: {use: [diffusion], diffusion: " + latent + "}":
            r"train\.diffusion\.autoencoder: no folder none/here",
    }  # fmt: skip
    for text, said in wanted.items():
        (tmp_path / "params.yaml").write_text(source + text)
        with pytest.raises(ParamsError, match=said):
            check_params(Workspace(tmp_path))
