"""The spaces a diffusion network may work in: one protocol, one config, and a base that draws what it always drew."""

from __future__ import annotations

import copy
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from test_training import BUDGET, began, followed, same, tiny_set
from tiny_diffusers import tiny_autoencoder
from torch import nn

from pipelines.generators.checkpoint import WEIGHTS, load_checkpoint, save_checkpoint
from pipelines.generators.diffusion import DiffusionRecipe
from pipelines.generators.interface import Condition
from pipelines.generators.registry import BASE, load_generator
from pipelines.generators.space import Space, configured_space
from pipelines.train.loop import Run, fit
from pipelines.train.sheets import exported
from schemas.errors import CheckpointError, ParamsError
from schemas.params import SamplerParams
from schemas.pinned_params import AutoencoderParams
from schemas.train_params import DiffusionParams
from schemas.words import Lesion, Modality

SCRATCH = {"start": "scratch", "mixed_precision": "no"}
GOLDEN = Path(__file__).parent / "golden/base_diffusion.png"


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> AutoencoderParams:
    return tiny_autoencoder(tmp_path_factory.mktemp("autoencoder"))


def params_of(space: str, autoencoder: AutoencoderParams) -> DiffusionParams:
    kind, _, block = space.partition(" ")
    extra = {"autoencoder": autoencoder} if kind == "latent" else {"pixel_block": int(block or 4)}
    return DiffusionParams(space=kind, **extra, **SCRATCH)


SPACES = {"spectral": (24, 4), "pixel 4": (48, 4), "pixel 1": (3, 1), "latent": (4, 8)}


def four() -> tuple[list[Condition], list[str]]:
    tones = [50.0, -40.0, None, 10.0]
    conditions = [
        Condition(Modality.PHANTOM, 1 + (i * 5) % 6, (Lesion.NEVUS, Lesion.MELANOMA)[i % 2], tones[i]) for i in range(4)
    ]
    return conditions, [hashlib.sha256(f"golden {i}".encode()).hexdigest() for i in range(4)]


def test_the_shipped_base_draws_what_it_drew_when_it_was_made() -> None:
    sampler = SamplerParams(steps=6, spacing="karras", autoguidance=1.4)  # the default then
    drawn = load_generator(BASE / "diffusion", sampler).sample(*four())
    before = np.asarray(Image.open(GOLDEN)).reshape(64, 4, 64, 3).swapaxes(0, 1)
    assert np.abs(drawn.astype(int) - before).max() <= 1, "equal here; another machine's kernels may round otherwise"


@pytest.mark.parametrize("name", SPACES)
def test_every_space_keeps_the_protocol(name: str, autoencoder: AutoencoderParams) -> None:
    space = configured_space(params_of(name, autoencoder))
    assert isinstance(space, Space)
    assert (space.channels, space.reduction) == SPACES[name]
    pixels = tiny_set().pixels[:3, :32, :32]
    space.fit(pixels, 0.5)
    planes = space.encode(pixels).requires_grad_(True)
    side = 32 // space.reduction
    assert planes.shape == (3, space.channels, side, side)
    assert abs(float(planes.detach().mean())) < 0.2
    srgb = space.to_srgb(planes)
    assert srgb.shape == (3, 32, 32, 3)
    srgb.sum().backward()
    assert planes.grad is not None
    assert float(planes.grad.abs().sum()) > 0
    decoded = space.decode(planes.detach())
    assert decoded.dtype == torch.uint8
    assert (decoded.float() / 255 - srgb.detach().clamp(0, 1)).abs().max() <= 0.51 / 255
    assert float(space.importance().mean()) == pytest.approx(1)


@pytest.mark.parametrize("block", [1, 2, 4, 8])
def test_pixels_come_back_exactly(block: int) -> None:
    space = configured_space(DiffusionParams(space="pixel", pixel_block=block, **SCRATCH))
    pixels = tiny_set().pixels
    space.fit(pixels)
    assert torch.equal(space.decode(space.encode(pixels)), pixels)


def trained(space: str, autoencoder: AutoencoderParams, state: Path, stop_after: int | None = None) -> Run:
    torch.manual_seed(3)
    torch.set_num_threads(1)
    recipe = followed(DiffusionRecipe(params_of(space, autoencoder), 64), stop_after)
    return fit(
        recipe, tiny_set(), replace(BUDGET, images=32), seed=5, key="k", state=state, mixed_precision="no",
        on_log=lambda row: None, on_save=lambda run: None,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["pixel 4", "latent"])
def test_a_checkpoint_of_another_space_draws_and_a_latent_run_resumes_exactly(
    name: str, autoencoder: AutoencoderParams, tmp_path: Path
) -> None:
    whole = trained(name, autoencoder, tmp_path / "whole")
    if name == "latent":
        with pytest.raises(KeyboardInterrupt):
            trained(name, autoencoder, tmp_path / "cut", stop_after=3)
        resumed = trained(name, autoencoder, tmp_path / "cut")
        assert began(resumed) == 2
        assert same(resumed.average, whole.average)
    folder = tmp_path / "model"
    save_checkpoint(exported(whole.recipe, whole.average), whole.recipe.config(), folder)
    drawn = load_generator(folder, SamplerParams(steps=2)).sample(*four())
    assert drawn.shape == (4, 64, 64, 3)
    assert len({d.tobytes() for d in drawn}) == 4


def latent_checkpoint(autoencoder: AutoencoderParams, folder: Path) -> DiffusionRecipe:
    recipe = DiffusionRecipe(params_of("latent", autoencoder), 64)
    save_checkpoint(nn.ModuleDict({n: recipe.net[n] for n in recipe.exported}), recipe.config(), folder)
    return recipe


def test_the_autoencoder_is_frozen_shared_and_in_no_checkpoint(autoencoder: AutoencoderParams, tmp_path: Path) -> None:
    recipe = latent_checkpoint(autoencoder, tmp_path)
    stored = load_checkpoint(tmp_path, "diffusion")
    assert {n.split(".")[0] for n in stored.tensors} == {"denoiser", "guiding", "latent"}
    assert {n for n in stored.tensors if n.startswith("latent")} == {"latent.mean", "latent.scale"}
    assert stored.config["autoencoder"]["sha256"] == autoencoder.sha256
    weights = Path(autoencoder.path, "diffusion_pytorch_model.safetensors")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == autoencoder.sha256, "what sha256sum prints"
    copied = copy.deepcopy(recipe.net)["latent"]
    assert copied._frozen.net is recipe.space._frozen.net  # type: ignore[union-attr]
    assert not any(p.requires_grad for p in copied._frozen.net.parameters())
    assert (tmp_path / WEIGHTS).is_file()


def test_a_checkpoint_on_another_autoencoder_is_refused(tmp_path: Path) -> None:
    own = tiny_autoencoder(tmp_path / "vae")
    latent_checkpoint(own, tmp_path / "model")
    other = tiny_autoencoder(tmp_path / "vae", seed=1)
    said = rf"trained on the autoencoder: weights in .* have sha256 {other.sha256[:12]}, {own.sha256[:12]} is pinned"
    with pytest.raises(CheckpointError, match=said):
        load_generator(tmp_path / "model", SamplerParams())
    shutil.rmtree(tmp_path / "vae")
    with pytest.raises(CheckpointError, match=r"no folder .*vae; needs one in the diffusers format; put it there or"):
        load_generator(tmp_path / "model", SamplerParams())


def spoilt(folder: Path, how: str) -> AutoencoderParams:
    params = tiny_autoencoder(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    if how == "another sha256":
        return params.model_copy(update={"sha256": "0" * 64})
    if how == "no weights":
        weights.rename(folder / "diffusion_pytorch_model.bin")
    if how == "other config":
        shutil.copy(weights, folder / "kept")
        tiny_autoencoder(folder, channels=(8, 8, 16, 16))
        shutil.copy(folder / "kept", weights)
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:500])
        return params.model_copy(update={"sha256": hashlib.sha256(weights.read_bytes()).hexdigest()})
    return params


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("another sha256", r"have sha256 \w{12}, 000000000000 is pinned; put the pinned weights there, or pin these"),
        ("no weights", r"no diffusion_pytorch_model\.safetensors in .*; other formats are not read"),
        ("other config", r"is no AutoencoderKL|lacks \d+ weights of its AutoencoderKL"),
        ("truncated", r"is no AutoencoderKL"),
    ],
)
def test_an_autoencoder_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, how: str, said: str) -> None:
    params = DiffusionParams(space="latent", autoencoder=spoilt(tmp_path, how), **SCRATCH)
    with pytest.raises(ParamsError, match=rf"^train\.diffusion\.autoencoder: .*({said})") as caught:
        configured_space(params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"space": "latent", **SCRATCH}, "space latent without an autoencoder; give autoencoder"),
        ({"space": "pixel"}, "start base with space pixel; the base is spectral; set start: scratch"),
        (
            {"autoencoder": {"path": "x", "sha256": "0" * 64, "licence": "CC0-1.0"}},
            "an autoencoder beside space spectral; set space: latent",
        ),
        ({"space": "fourier"}, "Input should be 'spectral', 'pixel' or 'latent'"),
    ],
)
def test_params_that_cannot_be_meant_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DiffusionParams.model_validate(given)


def test_a_resolution_the_planes_do_not_allow_is_refused(autoencoder: AutoencoderParams) -> None:
    with pytest.raises(ParamsError, match=r"got 48 px; diffusion in this space needs a multiple of 32 .*; use 64"):
        DiffusionRecipe(params_of("latent", autoencoder), 48)
