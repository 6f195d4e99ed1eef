"""A deeper network goes on from a shallower one's weights: the same pictures at first, and every layer learns."""

from __future__ import annotations

from argparse import Namespace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from test_sampler_options import asked
from test_training import tiny_set
from torch import Tensor

from pipelines.generators.checkpoint import load_checkpoint, save_checkpoint
from pipelines.generators.conditioning import encode
from pipelines.generators.deepen import deepened
from pipelines.generators.denoiser import LAYERS, SHALLOW, Denoiser
from pipelines.generators.diffusion import DiffusionRecipe
from pipelines.generators.registry import load_generator
from pipelines.train.base_guiding import add_guiding
from pipelines.train.run import go_on_from
from schemas.errors import CheckpointError
from schemas.params import SamplerParams
from schemas.train_params import DiffusionParams

WIDTHS = (16, 32, 32)


def network(layers: tuple[int, ...]) -> Denoiser:
    torch.manual_seed(sum(layers))
    return Denoiser(8, 16, WIDTHS, layers).eval()


def predicted(net: Denoiser) -> Tensor:
    draws = torch.Generator().manual_seed(3)
    noisy = torch.randn(3, 8, 16, 16, generator=draws)
    with torch.inference_mode():
        out: Tensor = net(noisy, torch.tensor([10, 400, 990]), encode(asked(30.0, 3, 3)))
    return out


def grown(net: Denoiser, before: tuple[int, ...], after: tuple[int, ...]) -> Denoiser:
    deeper = network(after)
    deeper.load_state_dict(deepened(deeper.unet, net.state_dict(), before))
    return deeper


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1, 1, 1), (3, 2, 1)),
        ((1, 1, 1), (1, 1, 2)),
        ((2, 1, 1), (3, 3, 2)),
        ((2, 3, 2), (3, 3, 2)),
        ((2, 2, 2), (2, 2, 2)),
    ],
)
def test_the_deeper_network_computes_what_the_shallower_did(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    shallow = network(before)
    assert torch.allclose(predicted(grown(shallow, before, after)), predicted(shallow), atol=1e-5)


def test_deeper_by_steps_is_deeper_at_once() -> None:
    steps = [(1, 1, 1), (2, 1, 1), (3, 2, 1)]
    net = first = network(steps[0])
    for before, after in pairwise(steps):
        net = grown(net, before, after)
    assert torch.allclose(predicted(net), predicted(grown(first, steps[0], steps[-1])), atol=1e-5)


def test_every_new_layer_learns_from_the_first_step() -> None:
    shallow = network((1, 1, 1))
    deeper = grown(shallow, (1, 1, 1), (2, 2, 1))
    noisy = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    deeper(noisy, torch.tensor([100, 700]), encode(asked(30.0, 3, 2))).square().mean().backward()
    silent = [
        k for k, v in deeper.named_parameters() if k.endswith(("conv2.weight", "proj_out.weight")) and not v.any()
    ]
    assert len(silent) == 6, "resnets down and up at two sides, attention at one"
    assert all(deeper.get_parameter(k).grad.any() for k in silent)  # type: ignore[union-attr]


def test_a_shallower_network_cannot_take_over_a_deeper_ones_weights() -> None:
    with pytest.raises(ValueError, match=r"\[1, 1, 1\] layers cannot take over \[2, 1, 1\]"):
        deepened(network((1, 1, 1)).unet, network((2, 1, 1)).state_dict(), (2, 1, 1))


def test_a_checkpoint_of_before_is_drawn_from_and_gone_on_from(tmp_path: Path) -> None:
    assert LAYERS != SHALLOW
    recipe = DiffusionRecipe(DiffusionParams(guiding=False), 64)
    recipe.space.fit(tiny_set().pixels, recipe.whitening)
    old = torch.nn.ModuleDict({"denoiser": Denoiser(24, 16, layers=SHALLOW), "spectral": recipe.space})
    config = {k: v for k, v in recipe.config().items() if k != "layers"}
    save_checkpoint(old, {**config, "lesions": []}, tmp_path / "old")
    sampler, conditions = SamplerParams(steps=2), asked(20.0, 2, 2)
    before = load_generator(tmp_path / "old", sampler).sample(conditions, ["a", "b"])

    go_on_from(recipe, load_checkpoint(tmp_path / "old", "diffusion"), tmp_path / "old")
    save_checkpoint(recipe.net, {**recipe.config(), "lesions": []}, tmp_path / "new")
    after = load_generator(tmp_path / "new", sampler).sample(conditions, ["a", "b"])
    assert abs(after.astype(int) - before).max() <= 1


@pytest.mark.parametrize(
    ("layers", "says"), [((3, 3, 1), "3, 2, 1.* layers cannot take over .*3, 3, 1"), (SHALLOW, "1, 1, 1")]
)
def test_a_base_of_other_layers_is_refused_where_it_cannot_be_used(
    tmp_path: Path, layers: tuple[int, ...], says: str
) -> None:
    recipe = DiffusionRecipe(DiffusionParams(guiding=False), 64)
    net = torch.nn.ModuleDict({"denoiser": Denoiser(24, 16, layers=layers), "spectral": recipe.space})
    save_checkpoint(net, {**recipe.config(), "layers": list(layers), "lesions": []}, tmp_path)
    if layers != SHALLOW:
        with pytest.raises(CheckpointError, match=says):
            go_on_from(recipe, load_checkpoint(tmp_path, "diffusion"), tmp_path)
    with pytest.raises(
        CheckpointError, match=r"train it on first, with `python -m pipelines.train.base diffusion --start"
    ):
        add_guiding(tmp_path, tiny_set(), Namespace(), tmp_path / "guided")
    assert not (tmp_path / "guided").exists()
