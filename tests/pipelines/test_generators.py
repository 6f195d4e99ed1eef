"""Generators as the rest of the factory sees them: keyed noise, checkpoints that are checked, one interface."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.generators.checkpoint import CONFIG, WEIGHTS, load_checkpoint, save_checkpoint
from pipelines.generators.interface import Condition, key_noise
from pipelines.generators.registry import BASE, GENERATORS, entry, load_generator
from schemas.errors import CheckpointError, ParamsError
from schemas.params import SamplerParams
from schemas.train_params import TrainParams
from schemas.words import Lesion, Modality

SHIPPED = ("diffusion", "gan")
NAMES = [name for name in GENERATORS if name != "stable_diffusion"]
"""What fine-tunes others' models has its own tests."""

SAMPLER = SamplerParams(steps=3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained checkpoints of every generator."""
    made = {}
    for name in NAMES:
        torch.manual_seed(1)
        recipe = entry(name).recipe(getattr(TrainParams(), name), 64)
        made[name] = tmp_path_factory.mktemp(name)
        save_checkpoint(
            nn.ModuleDict({n: recipe.net.get_submodule(n) for n in recipe.exported}), recipe.config(), made[name]
        )
    return made


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:24]


def asked(n: int) -> tuple[list[Condition], list[str]]:
    conditions = [
        Condition(Modality.PHANTOM, 1 + i % 6, list(Lesion)[i % 4], float(60 - 20 * (i % 6))) for i in range(n)
    ]
    return conditions, [key(i) for i in range(n)]


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_the_same_in_any_batch_and_order(folders: dict[str, Path], name: str) -> None:
    generator = load_generator(folders[name], SAMPLER)
    conditions, keys = asked(8)
    together = generator.sample(conditions, keys)
    assert together.shape == (8, 64, 64, 3)
    assert together.dtype == np.uint8
    alone = np.concatenate([generator.sample([c], [k]) for c, k in zip(conditions, keys, strict=True)])
    reverse = generator.sample(conditions[::-1], keys[::-1])[::-1]
    assert np.abs(together.astype(int) - alone).max() <= 1
    assert np.abs(together.astype(int) - reverse).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_another_key_is_another_image(folders: dict[str, Path], name: str) -> None:
    conditions, keys = asked(1)
    generator = load_generator(folders[name], SAMPLER)
    assert not (generator.sample(conditions, keys) == generator.sample(conditions, ["f" * 24])).all()


def test_key_noise_is_standard_normal_and_by_row() -> None:
    noise = key_noise([key(i) for i in range(64)], (1000,))
    assert noise.mean().abs() < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert torch.equal(key_noise([key(8)], (1000,))[0], noise[8])


def test_guidance_of_one_is_a_single_pass_and_matches_the_definition(folders: dict[str, Path]) -> None:
    from pipelines.generators.conditioning import encode, without_lesion, without_tone
    from pipelines.generators.diffusion import DiffusionGenerator
    from pipelines.generators.guidance import guided

    conditions, keys = asked(2)
    generator = DiffusionGenerator(folders["diffusion"], SamplerParams(guidance_tone=1.7, guidance_lesion=2.5))
    codes, state, time = encode(conditions), key_noise(keys, (24, 16, 16)), torch.tensor(500)
    with torch.inference_mode():
        full, tone, null = (
            generator._velocity(state, time, c)
            for c in (codes, without_lesion(codes), without_lesion(without_tone(codes)))
        )
        expected = null + 1.7 * (tone - null) + 2.5 * (full - tone)
        found = guided(generator._velocity, generator.sampler, state, time, codes)
        assert torch.allclose(found, expected, atol=1e-4)
        plain = SamplerParams(guidance_tone=1, guidance_lesion=1)
        assert torch.allclose(guided(generator._velocity, plain, state, time, codes), full, atol=1e-5)


def test_a_damaged_checkpoint_is_refused_in_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    for name in (WEIGHTS, CONFIG):
        (tmp_path / name).write_bytes((folders["gan"] / name).read_bytes())
    data = bytearray((tmp_path / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / WEIGHTS).write_bytes(bytes(data))
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: sha256 \w{12}, config\.json says \w{12}; the file is damaged"
    ):
        load_generator(tmp_path, SAMPLER)
    (tmp_path / WEIGHTS).write_bytes(bytes(data[:1000]))
    with pytest.raises(CheckpointError, match="damaged"):
        load_generator(tmp_path, SAMPLER)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_generator(tmp_path, SAMPLER)


def test_a_checkpoint_of_another_kind_or_network_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a 'gan' checkpoint, a 'diffusion' one is needed"):
        load_checkpoint(folders["gan"], "diffusion")
    save_checkpoint(nn.ModuleDict({"synthesis": nn.Linear(2, 2)}), {"generator": "gan", "resolution": 64}, tmp_path)
    with pytest.raises(CheckpointError, match="weights do not fit"):
        load_generator(tmp_path, SAMPLER)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, "generator": "vae"}))
    with pytest.raises(ParamsError, match="generator 'vae': not known; use one of diffusion, gan, dcgan, stylegan2"):
        load_generator(tmp_path, SAMPLER)


@pytest.mark.parametrize("kind", ["modality", "lesion"])
def test_a_checkpoint_made_under_another_vocabulary_is_refused(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    (tmp_path / WEIGHTS).write_bytes((folders["dcgan"] / WEIGHTS).read_bytes())
    config = json.loads((folders["dcgan"] / CONFIG).read_text())
    words = config["slots"][kind]

    def load(changed: list[str]) -> None:
        (tmp_path / CONFIG).write_text(json.dumps({**config, "slots": {**config["slots"], kind: changed}}))
        load_generator(tmp_path, SAMPLER)

    load(words[:2])  # words were added since: what is known stands where it stood
    load(words)
    with pytest.raises(CheckpointError) as caught:
        load(["freckle", *words])
    assert str(caught.value) == (
        f"{tmp_path}: made under another vocabulary: {kind} 1 was freckle, here it is {words[0]}; "
        "restore schemas/lesions.py or train dcgan again"
    )
    with pytest.raises(CheckpointError, match=rf"{kind} {len(words) + 1} was freckle, here it is nothing"):
        load([*words, "freckle"])


@pytest.mark.parametrize("name", ["dcgan", "stylegan2"])
def test_a_lesion_that_was_never_learned_is_refused(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    (tmp_path / WEIGHTS).write_bytes((folders[name] / WEIGHTS).read_bytes())
    config = json.loads((folders[name] / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, "lesions": ["melanoma", "nevus"]}))
    generator = load_generator(tmp_path, SAMPLER)
    generator.sample([Condition(Modality.PHANTOM, 6, Lesion.NEVUS, -40.0)], [key(1)])
    with pytest.raises(CheckpointError) as caught:
        generator.sample([Condition(Modality.PHANTOM, 6, Lesion.DERMATOFIBROMA, -40.0)], [key(1)])
    assert str(caught.value) == (
        f"{name} {config['sha256'][:12]}: asked for dermatofibroma, it learned melanoma, nevus; "
        f"add a source that has them and train {name} again"
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_base_is_whole_small_and_says_what_it_is(name: str) -> None:
    folder = BASE / name
    config = load_checkpoint(folder, name).config
    assert (folder / WEIGHTS).stat().st_size <= 17_500_000
    assert config["modality"] == "phantom"
    assert config["licence"] == "Apache-2.0"
    assert config["images"] >= 50_000
    assert (folder / "card.md").is_file()
    assert (folder / "losses.parquet").is_file()
