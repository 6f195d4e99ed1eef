"""Autoguidance: the guiding network learns beside the denoiser without touching it, and steers what is drawn."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_training
import torch
from test_sampler_options import Recorder, asked, keys
from test_training import BUDGET, same, tiny_set, train
from torch import Tensor

from pipelines.generators.checkpoint import load_checkpoint, read_config, save_checkpoint
from pipelines.generators.conditioning import encode
from pipelines.generators.diffusion import SCHEDULE, DiffusionRecipe
from pipelines.generators.guidance import draw_planes, plain_and_difference
from pipelines.generators.registry import BASE, load_generator
from pipelines.train.base import base_phantoms
from pipelines.train.base_guiding import add_guiding
from pipelines.train.run import start_from
from pipelines.train.sheets import exported
from schemas.errors import CheckpointError
from schemas.params import SamplerParams
from schemas.train_params import DiffusionParams


def checkpoint(folder: Path, guiding: bool) -> Path:
    """An untrained checkpoint, the same weights with and without a guiding network beside them."""
    torch.manual_seed(0)
    recipe = DiffusionRecipe(DiffusionParams(guiding=guiding), 64)
    recipe.space.fit(tiny_set().pixels, recipe.whitening)
    save_checkpoint(exported(recipe, recipe.net), {**recipe.config(), "lesions": [], "images": 0}, folder)
    return folder


def drawn(guiding: Any, **options: Any) -> Tensor:
    sampler = SamplerParams(steps=5, **options)
    return draw_planes(Recorder(0.0), SCHEDULE, sampler, encode(asked(30.0, 3, 2)), keys(2), (2, 4, 4), guiding)


def weaker(state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
    return 0.05 * state


def test_each_step_goes_away_from_the_guiding_network_and_lesion_guidance_is_added_to_it() -> None:
    sampler = SamplerParams(guidance_lesion=2.0, autoguidance=1.7, guidance_until=1.0, steps=5)
    codes, sums = encode(asked(30.0, 3, 2)), []

    def by_hand(state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        plain, lesion = plain_and_difference(Recorder(0.0), sampler, state, time, codes)
        sums.append(1)
        return plain + 0.7 * (plain - weaker(state, time, codes)) + lesion

    once = SamplerParams(guidance_lesion=1.0, guidance_tone=1.0, steps=5)
    expected = draw_planes(by_hand, SCHEDULE, once, codes, keys(2), (2, 4, 4))
    assert len(sums) == 5
    assert torch.allclose(drawn(weaker, guidance_lesion=2.0, autoguidance=1.7, guidance_until=1.0), expected, atol=1e-5)


def test_at_one_the_guiding_network_is_not_asked_and_the_image_is_bit_for_bit_the_same() -> None:
    asked_of: list[int] = []

    def counted(state: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        asked_of.append(len(state))
        return weaker(state, time, codes)

    assert torch.equal(drawn(counted, autoguidance=1.0), drawn(None, autoguidance=1.5))
    assert not asked_of
    assert not torch.equal(drawn(counted, autoguidance=1.5), drawn(None))
    assert asked_of == [2] * 5, "every step, also those after guidance_until"


def test_a_checkpoint_says_whether_it_has_one_and_is_sampled_accordingly(tmp_path: Path) -> None:
    conditions = asked(20.0, 2, 2)
    with_, without = (checkpoint(tmp_path / str(g), g) for g in (True, False))
    sampler = SamplerParams(steps=3, autoguidance=1.5)
    plain = load_generator(without, sampler)
    assert "autoguidance" not in plain.settings
    assert load_generator(with_, sampler).settings["autoguidance"] == 1.5
    off = load_generator(with_, SamplerParams(steps=3, autoguidance=1.0))
    assert off.settings == plain.settings
    assert np.array_equal(off.sample(conditions, keys(2)), plain.sample(conditions, keys(2)))
    assert not np.array_equal(
        load_generator(with_, sampler).sample(conditions, keys(2)), plain.sample(conditions, keys(2))
    )


def test_a_checkpoint_of_before_there_were_any_is_read(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "old", False)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["guiding_widths"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "autoguidance" not in load_generator(folder, SamplerParams(steps=2)).settings


def test_it_learns_and_the_denoiser_learns_bit_for_bit_what_it_learns_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = train("diffusion", tmp_path / "both", budget=replace(BUDGET, images=160, learning_rate=3e-3))
    monkeypatch.setitem(test_training.PARAMS, "diffusion", DiffusionParams(guiding=False))
    alone = train("diffusion", tmp_path / "alone", budget=replace(BUDGET, images=160, learning_rate=3e-3))
    assert same(both.recipe.net["denoiser"], alone.recipe.net["denoiser"])  # type: ignore[index]
    errors = [row["guiding"] for row in both.log]
    assert np.mean(errors[-4:]) < 0.95 * np.mean(errors[:4])


def test_a_build_from_a_base_without_one_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path / "diffusion", False)
    monkeypatch.setattr("pipelines.train.run.BASE", tmp_path)
    with pytest.raises(CheckpointError, match=r"has no guiding network.*guiding needs; set that to false, or give"):
        start_from(DiffusionRecipe(DiffusionParams(), 64), tiny_set(), "base")
    start_from(DiffusionRecipe(DiffusionParams(guiding=False), 64), tiny_set(), "base")


def test_a_build_without_one_starts_from_a_base_that_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_ = load_checkpoint(checkpoint(tmp_path / "diffusion", True), "diffusion")
    monkeypatch.setattr("pipelines.train.run.BASE", tmp_path)
    recipe = DiffusionRecipe(DiffusionParams(guiding=False), 64)
    start_from(recipe, tiny_set(), "base")
    weight = "denoiser.unet.conv_in.weight"
    assert torch.equal(recipe.net.state_dict()[weight], with_.tensors[weight].float())


@pytest.mark.usefixtures("any_precision")
def test_a_base_is_given_one_and_keeps_its_own_weights(tmp_path: Path) -> None:
    args = Namespace(images=64, batch=8, rate=1e-3, save_every=32)
    data = base_phantoms(48, 1, None)
    base = BASE / "diffusion"
    add_guiding(base, data, args, tmp_path / "base")
    before, after = load_checkpoint(base, "diffusion"), load_checkpoint(tmp_path / "base", "diffusion")
    theirs = {k: v for k, v in before.tensors.items() if not k.startswith("guiding.")}
    assert all(torch.equal(after.tensors[k], v) for k, v in theirs.items())
    assert any(k.startswith("guiding.") for k in after.tensors)
    assert read_config(tmp_path / "base")["guiding"]["images"] == 64
    assert read_config(tmp_path / "base")["images"] == before.config["images"]
    assert "64 images, batch 8, muon" in (tmp_path / "base" / "card.md").read_text(encoding="utf-8")
    assert not (tmp_path / "base" / "state").exists()
    add_guiding(tmp_path / "base", data, args, tmp_path / "again")  # begins anew, whatever is there
    assert load_checkpoint(tmp_path / "again", "diffusion").sha256 == after.sha256
