"""Bases of Stable Diffusion: what is refused in one line, and published files that name their weights otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from test_training import tiny_set
from tiny_diffusers import ONE_PASS, params_on, recipe_on, saved, tiny_stable_diffusion

from pipelines.generators.pinned import weights_sha256
from pipelines.generators.pretrained import embedded_prompt, open_pretrained
from pipelines.generators.registry import load_generator
from pipelines.generators.stable_diffusion import StableDiffusionRecipe
from schemas.errors import CheckpointError, ParamsError
from schemas.pinned_params import PretrainedParams


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PretrainedParams:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


def spoil(folder: Path, how: str) -> dict[str, object]:
    """Break a base in one way and return what params should then say differently."""
    match how:
        case "gone":
            shutil.rmtree(folder)
        case "a part":
            shutil.rmtree(folder / "tokenizer")
        case "other":
            tiny_stable_diffusion(folder, seed=1)
        case "pickle":
            file = folder / "unet/diffusion_pytorch_model.safetensors"
            file.rename(file.with_suffix(".bin"))
        case "inpainting":
            file = folder / "unet/config.json"
            file.write_text(file.read_text().replace('"in_channels": 4', '"in_channels": 9'))
        case "words":
            (folder / "tokenizer/vocab.json").unlink()
        case "long":
            return {"prompt": "skin " * 40}
        case "zero":
            return {"zero_terminal_snr": True}
    return {}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("gone", r"base: no folder .*; needs a Stable Diffusion saved by diffusers; put it there or set its path"),
        ("a part", r"base: no tokenizer in .*; needs the folders unet, vae, .*; save the whole pipeline"),
        ("other", r"base: weights in .* have sha256 \w{12}, \w{12} is pinned; put the pinned weights there"),
        ("pickle", r"base: weights in .* have sha256"),
        ("inpainting", r"base: .*unet is no UNet2DConditionModel|takes 9 planes"),
        ("words", r"base: no tokenizer in "),
        ("long", r"prompt: \d+ tokens, the base reads 77; shorten it"),
        ("zero", r"zero_terminal_snr: the base predicts epsilon; needs v_prediction; set it to false"),
    ],
)
def test_a_base_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, how: str, said: str) -> None:
    base = tiny_stable_diffusion(tmp_path / "sd")
    changes = spoil(tmp_path / "sd", how)
    with pytest.raises(ParamsError, match=rf"^train\.stable_diffusion\.({said})") as caught:
        recipe_on(base, **changes)
    assert "\n" not in str(caught.value)


def test_without_a_base_or_at_another_resolution_it_is_said_what_to_change(base: PretrainedParams) -> None:
    with pytest.raises(ParamsError, match=r"base: none; needs the model to fine-tune; give path"):
        StableDiffusionRecipe(params_on(None), 64)
    with pytest.raises(ParamsError, match=r"got 96 px; stable_diffusion on this base needs a multiple of 64; use 128"):
        recipe_on(base, 96)


def test_a_checkpoint_whose_base_is_gone_or_exchanged_is_refused(tmp_path: Path) -> None:
    base = tiny_stable_diffusion(tmp_path / "sd")
    folder = saved(recipe_on(base), tmp_path / "model")
    tiny_stable_diffusion(tmp_path / "sd", seed=1)
    with pytest.raises(CheckpointError, match=rf"model: made for the base {base.path}: weights in .* is pinned"):
        load_generator(folder, ONE_PASS)
    shutil.rmtree(tmp_path / "sd")
    with pytest.raises(CheckpointError, match=r"made for the base .*: no folder .*; put it there or set its path"):
        load_generator(folder, ONE_PASS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sha256": "0" * 64}, "a path or a hub id, one of the two"),
        ({"sha256": "0" * 64, "path": "x", "hub": "a/b", "revision": "c"}, "a path or a hub id, one of the two"),
        ({"sha256": "0" * 64, "hub": "a/b"}, "hub and revision go together; give the commit"),
        ({"sha256": "abc", "path": "x"}, "String should match pattern"),
        ({"sha256": "0" * 64, "path": "x", "licence": "mine"}, "licence 'mine' is not known; it needs to be one of"),
    ],
)
def test_params_of_a_base_that_cannot_be_meant_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PretrainedParams.model_validate({"licence": "CC0-1.0", **given})


_HUB = """
import sys
from pipelines.generators.pinned import hub_folder
from schemas.errors import ParamsError
try:
    print(hub_folder("someone/tiny", sys.argv[1], "base", ParamsError))
except ParamsError as error:
    print(error)
"""


def test_a_hub_id_is_read_from_the_local_cache_and_refused_offline_without_it(tmp_path: Path) -> None:
    commit = "a" * 40
    snapshot = tmp_path / f"hub/models--someone--tiny/snapshots/{commit}"
    snapshot.mkdir(parents=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}

    def ask(revision: str) -> str:
        command = [sys.executable, "-c", _HUB, revision]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    assert ask(commit).strip() == str(snapshot)
    said = ask("b" * 40)
    assert said.startswith(f"base: someone/tiny at {'b' * 40} is neither in the local cache nor to be had from the hub")
    assert said.count("\n") == 1


def test_files_as_version_1_5_names_their_weights_are_read_the_same(base: PretrainedParams, tmp_path: Path) -> None:
    """The published files are older than the libraries: attention under other names, an index stored as a weight."""
    old = tmp_path / "old"
    shutil.copytree(str(base.path), old)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = load_file(old / "vae/diffusion_pytorch_model.safetensors")
    renamed = dict(vae)
    for name in vae:
        for new, former in names.items():
            if f".attentions.0.{new}." in name:
                renamed[name.replace(new, former)] = renamed.pop(name)
    assert len(renamed.keys() - vae.keys()) == 16
    save_file(renamed, old / "vae/diffusion_pytorch_model.safetensors")
    text = load_file(old / "text_encoder/model.safetensors")
    prefixed = {n if n.startswith("text_model.") else f"text_model.{n}": w for n, w in text.items()}
    prefixed["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(prefixed, old / "text_encoder/model.safetensors", metadata={"format": "pt"})
    pinned = base.model_copy(update={"path": str(old), "sha256": weights_sha256(old)})
    one, other = (open_pretrained(p, "test", ParamsError) for p in (base, pinned))
    pixels = tiny_set().pixels[:2]
    assert torch.equal(one.space.encode(pixels), other.space.encode(pixels))
    prompts = [embedded_prompt(b, "skin", "test", ParamsError) for b in (one, other)]
    assert torch.equal(*prompts)
    assert prompts[0].shape == (1, 77, 16)
