"""DCGAN and StyleGAN2 as networks: shapes, the convolution against its definition, and that conditions matter."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from test_training import tiny_set
from torch.nn import functional as F

from pipelines.generators.adversarial import signed
from pipelines.generators.conditioning import encode
from pipelines.generators.dcgan import DcganDiscriminator, DcganRecipe, DcganSynthesis
from pipelines.generators.draws import step_draws
from pipelines.generators.equalised import EqualConv, EqualLinear, ResidualBlock, activate, blur, with_deviation
from pipelines.generators.interface import Condition, Step
from pipelines.generators.modulated import STYLE, ModulatedConv, StyledLayer
from pipelines.generators.registry import entry, load_generator
from pipelines.generators.stylegan2 import LATENT, StyleDiscriminator, Stylegan2Recipe, StyleSynthesis
from pipelines.train.data import training_set
from pipelines.train.loop import Budget, fit
from pipelines.train.sheets import keep_snapshot
from schemas.params import SamplerParams
from schemas.train_params import DcganParams, Stylegan2Params
from schemas.words import Lesion, Modality

LIGHT = Condition(Modality.PHANTOM, 1, Lesion.NEVUS, 60.0)
DARK = Condition(Modality.PHANTOM, 6, Lesion.MELANOMA, -40.0)
SMALL: dict[str, Any] = {"dcgan": DcganParams(width=8), "stylegan2": Stylegan2Params(width=4, path_weight=0)}


@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_shapes_at_every_resolution(resolution: int) -> None:
    codes = encode([LIGHT, DARK, LIGHT])
    for synthesis in (DcganSynthesis(resolution, 8), StyleSynthesis(resolution, 4)):
        made = synthesis(torch.randn(3, synthesis.noise_size()), codes)
        images = made if isinstance(made, torch.Tensor) else made[0]
        assert images.shape == (3, 3, resolution, resolution)
        for discriminator in (
            DcganDiscriminator(resolution, 8, spectral_norm=True),
            StyleDiscriminator(resolution, 4),
        ):
            assert discriminator(images, codes).shape == (3,)


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_is_each_image_convolved_with_its_own_weights(demodulate: bool) -> None:
    torch.manual_seed(0)
    layer = ModulatedConv(5, 7, 3)
    x, style = torch.randn(4, 5, 8, 8), torch.randn(4, STYLE)
    maps, factors = layer(x, style)
    expected = own_convolutions(layer, x, style, demodulate)
    assert torch.allclose(maps * factors if demodulate else maps, expected, atol=1e-4)


def own_convolutions(layer: ModulatedConv, x: torch.Tensor, style: torch.Tensor, demodulate: bool) -> torch.Tensor:
    """Return what the paper says: weights of each image's own."""
    made = []
    for image, scale in zip(x, layer.affine(style), strict=True):
        weight = layer.weight / (x.shape[1] * 9) ** 0.5 * scale[None, :, None, None]  # eq. 1
        if demodulate:
            weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()  # eq. 3
        made.append(F.conv2d(image[None], weight, padding=1))
    return torch.cat(made)


def test_a_styled_layer_is_convolution_then_noise_then_bias_then_activation() -> None:
    torch.manual_seed(0)
    layer = StyledLayer(5, 7)
    torch.nn.init.constant_(layer.strength, 0.3)
    torch.nn.init.normal_(layer.bias)
    x, style, noise = torch.randn(4, 5, 8, 8), torch.randn(4, STYLE), torch.randn(4, 1, 8, 8)
    plain = own_convolutions(layer.conv, x, style, True) + 0.3 * noise + layer.bias[:, None, None]
    assert torch.allclose(layer(x, style, noise), activate(plain), atol=1e-4)


def test_the_discriminator_s_layers_are_activated_convolutions_and_a_block_their_sum_with_what_goes_beside() -> None:
    torch.manual_seed(0)
    x, block = torch.randn(2, 4, 8, 8), ResidualBlock(4, 6)
    for layer in (block.first, block.second):
        torch.nn.init.normal_(layer.bias)
    first = activate(F.conv2d(x, block.first.weight / 6, block.first.bias, padding=1))
    assert torch.allclose(block.first(x), first, atol=1e-5)
    second = activate(F.conv2d(blur(first, 2), block.second.weight / 6, block.second.bias, stride=2))
    beside = F.conv2d(F.avg_pool2d(x, 2), block.skip / 2)
    assert torch.allclose(block(x), (second + beside) / 2**0.5, atol=1e-5)


def test_demodulated_outputs_have_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    layer = ModulatedConv(64, 32, 3)
    for size in (0.1, 10.0):
        maps, factors = layer(torch.randn(8, 64, 16, 16), size * torch.randn(8, STYLE))
        assert float((maps * factors)[:, :, 1:-1, 1:-1].std()) == pytest.approx(1, abs=0.05)


def test_doubling_and_halving_keep_a_flat_picture_flat() -> None:
    flat = torch.ones(1, 2, 8, 8)
    assert torch.allclose(blur(flat, 2)[:, :, 2:-2, 2:-2], torch.ones(1, 2, 5, 5))
    up = ModulatedConv(2, 1, 3, up=True)
    torch.nn.init.ones_(up.weight)
    doubled, _ = up(flat, torch.zeros(1, STYLE))
    assert doubled.shape == (1, 1, 16, 16)
    assert float(doubled[:, :, 4:-4, 4:-4].std()) < 1e-5
    assert EqualConv(2, 3, 3, down=True)(flat).shape == (1, 3, 4, 4)


def test_a_lower_rate_moves_the_output_less_and_changes_nothing_at_the_start() -> None:
    x, moved = torch.randn(16, 32), []
    for rate in (1.0, 0.01):
        torch.manual_seed(0)
        layer = EqualLinear(32, 8, rate=rate)
        before = layer(x).detach()
        assert float(before.std()) == pytest.approx(1, abs=0.25)
        with torch.no_grad():
            layer.weight += 1e-2  # what one step of Adam does, whatever the gradient's size
        moved.append(float((layer(x) - before).abs().mean()))
    assert moved[1] == pytest.approx(0.01 * moved[0], rel=1e-2)


def test_deviation_is_over_groups_that_two_processes_would_form_too() -> None:
    x = torch.randn(16, 3, 4, 4)
    whole = with_deviation(x)[:, 3]
    assert torch.allclose(whole[0::2], with_deviation(x[0::2])[:, 3])
    assert torch.allclose(whole[1::2], with_deviation(x[1::2])[:, 3])
    assert float(with_deviation(x[:1].expand(4, -1, -1, -1))[:, 3].max()) < 1e-3
    assert with_deviation(x[:7]).shape == (7, 4, 4, 4)  # no group of four divides it


def test_the_layers_that_read_the_tone_learn_as_fast_as_every_other_layer() -> None:
    recipe = Stylegan2Recipe(Stylegan2Params(width=4), 16)
    for name in ("synthesis", "discriminator"):
        layers = [layer for layer in recipe.net[name].modules() if isinstance(layer, torch.nn.Linear)]  # type: ignore[index]
        assert layers == []  # a plain one starts at 0.1 and takes the same steps of 0.002


def test_r1_weighs_what_the_authors_heuristic_says_unless_it_is_set() -> None:
    assert Stylegan2Recipe(Stylegan2Params(width=4), 64).r1_gamma(8) == pytest.approx(0.1024)
    assert Stylegan2Recipe(Stylegan2Params(width=4), 128).r1_gamma(32) == pytest.approx(0.1024)
    assert Stylegan2Recipe(Stylegan2Params(width=4, r1_gamma=3.0), 64).r1_gamma(8) == 3


@pytest.mark.parametrize("name", list(SMALL))
def test_a_gradient_reaches_every_embedding_of_both_networks(name: str) -> None:
    recipe = entry(name).recipe(SMALL[name], 32)
    codes = encode([LIGHT, DARK])
    synthesis, discriminator = recipe.net["synthesis"], recipe.net["discriminator"]  # type: ignore[index]
    made = synthesis(torch.randn(2, synthesis.noise_size()), codes)
    images = made if isinstance(made, torch.Tensor) else made[0]
    discriminator(images, codes).square().sum().backward()
    for net in (synthesis, discriminator):
        for table, rows in ((net.conditioner.fst, (1, 6)), (net.conditioner.lesion, (1, 2))):
            assert all(float(table.weight.grad[row].abs().max()) > 0 for row in rows)
            assert float(table.weight.grad[3].abs().max()) == 0  # what was not asked for learns nothing


@pytest.mark.parametrize("name", list(SMALL))
def test_skin_type_decides_the_tone_after_a_short_training(name: str, tmp_path: Any) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    pixels = torch.zeros(32, 16, 16, 3, dtype=torch.uint8)
    pixels[:16], pixels[16:] = 200, 60
    data = training_set(pixels.numpy(), [LIGHT] * 16 + [DARK] * 16, 0.0, "two tones")
    recipe = entry(name).recipe(SMALL[name], 16)
    budget = Budget(4000, 16, 2e-3, 0, 0.1, 50, 10**6, (0.0, 0.99))
    run = fit(
        recipe, data, budget, seed=1, key="k", state=tmp_path, mixed_precision="no",
        on_log=lambda row: None, on_save=lambda run: None,
    )  # fmt: skip
    generator = load_generator(keep_snapshot(recipe, run.average, 4000, tmp_path), SamplerParams())
    light, dark = generator.sample([LIGHT, DARK], ["0" * 64, "1" * 64]).mean(axis=(1, 2, 3))
    assert light - dark > 50


class Alone:
    """A process group of one."""

    device = torch.device("cpu")

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def autocast(self) -> Any:
        return contextlib.nullcontext()

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        return tensor


def a_step(recipe: Any, optimisers: Sequence[torch.optim.Optimizer], number: int) -> Step:
    """Return step `number` on four pictures of 32 px."""
    data = tiny_set()
    wrapped = dict(recipe.net.named_children())
    return Step(
        data.pixels[:4, :32, :32], data.codes[:4], step_draws(0, number), number, Alone(), optimisers, wrapped,
        data.groups[:4], data.fst[:4],
    )  # fmt: skip


def one_step(recipe: Any, optimisers: Sequence[torch.optim.Optimizer], number: int) -> dict[str, float]:
    losses: dict[str, float] = recipe.step(a_step(recipe, optimisers, number))
    return losses


def test_wgan_gp_trains_the_generator_every_few_steps_only() -> None:
    recipe = DcganRecipe(DcganParams(width=8, loss="wgan_gp", generator_every=3), 32)
    assert not any("parametrizations" in name for name, _ in recipe.net["discriminator"].named_parameters())
    moved = []
    optimisers = [torch.optim.AdamW(group, lr=1e-3) for group in recipe.parameter_groups()]
    for number in range(6):
        before = recipe.net["synthesis"].project.weight.detach().clone()  # type: ignore[union-attr]
        losses = one_step(recipe, optimisers, number)
        moved.append(not torch.equal(before, recipe.net["synthesis"].project.weight))  # type: ignore[union-attr]
        assert losses["gradient_penalty"] > 0
    assert moved == [False, False, True] * 2


def test_a_step_of_stylegan2_draws_its_false_images_once_and_trains_both_networks_on_them() -> None:
    recipe = Stylegan2Recipe(Stylegan2Params(width=4, path_every=2, r1_every=2), 32)
    drawn: list[int] = []
    recipe.net["synthesis"].register_forward_hook(lambda net, given, made: drawn.append(len(given[1])))
    optimisers = [torch.optim.AdamW(group, lr=1e-3) for group in recipe.parameter_groups()]
    for number in range(2):
        before = [[p.detach().clone() for p in group] for group in recipe.parameter_groups()]
        one_step(recipe, optimisers, number)
        for old, new in zip(before, recipe.parameter_groups(), strict=True):
            assert any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
    assert drawn == [4, 2, 4]  # path lengths are measured on half a batch of others, every other step here


@pytest.mark.parametrize(("path", "diversity", "expected"), [(0.0, 0.0, [4]), (0.0, 1.0, [4, 2]), (2.0, 0.0, [4, 2])])
def test_images_for_the_regularisers_are_drawn_only_where_one_is_on(
    path: float, diversity: float, expected: list[int]
) -> None:
    recipe = Stylegan2Recipe(Stylegan2Params(width=4, path_weight=path, diversity_weight=diversity), 32)
    drawn: list[int] = []
    recipe.net["synthesis"].register_forward_hook(lambda net, given, made: drawn.append(len(given[1])))
    one_step(recipe, [torch.optim.AdamW(group, lr=1e-3) for group in recipe.parameter_groups()], 0)
    assert drawn == expected


def test_the_diversity_term_costs_all_of_its_weight_where_the_latent_changes_nothing() -> None:
    torch.manual_seed(0)
    recipe = Stylegan2Recipe(Stylegan2Params(width=4, path_weight=0, diversity_weight=2.0), 32)
    synthesis, step = recipe.net["synthesis"], a_step(recipe, [], 0)
    assert isinstance(synthesis, StyleSynthesis)
    real, noise = signed(step.pixels), torch.randn(4, synthesis.noise_size())
    with torch.no_grad():
        synthesis.mapping[0].weight[:, :LATENT] = 0  # type: ignore[operator, index]
    fake, _ = synthesis(noise, step.conditions)
    assert float(recipe.regularisers(step, real, fake, step.conditions).detach()) == pytest.approx(2, abs=1e-3)
    other = real.roll(1, 0)  # as far from what is drawn as real images are
    assert float(recipe.regularisers(step, real, other, step.conditions).detach()) < 1
