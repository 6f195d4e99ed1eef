"""Losses and regularisers against values worked out by hand on networks small enough for it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipelines.generators.adversarial import (
    PATH_DECAY,
    PathLength,
    coarse,
    diversity_sensitive,
    doublings,
    frozen,
    gradient_penalty,
    hinge_discriminator,
    logistic_discriminator,
    logistic_generator,
    path_lengths,
    pixels_of,
    r1_penalty,
    signed,
    wasserstein_discriminator,
)
from schemas.errors import ParamsError


class Alone:
    """A process group of one."""

    device = torch.device("cpu")

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        return tensor


def square(images: Tensor, codes: Tensor) -> Tensor:
    """D(x) = c |x|^2 / 2, whose gradient is c x."""
    return codes[:, 0] * images.square().sum(dim=(1, 2, 3)) / 2


def test_losses_are_the_papers() -> None:
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert float(hinge_discriminator(real, fake)) == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)
    assert float(wasserstein_discriminator(real, fake)) == pytest.approx(-1.5 - 1.25)
    soft = lambda x: math.log1p(math.exp(x))  # noqa: E731
    assert float(logistic_discriminator(real, fake)) == pytest.approx(
        (soft(-2) + soft(-0.5)) / 2 + (soft(-3) + soft(0)) / 2
    )
    assert float(logistic_generator(fake)) == pytest.approx((soft(3) + soft(0)) / 2)


def test_r1_is_the_mean_squared_slope_on_real_images() -> None:
    images, codes = torch.full((2, 3, 2, 2), 0.5), torch.tensor([[1.0], [2.0]])
    # |c x|^2 = c^2 * 12 * 0.25
    assert float(r1_penalty(square, images, codes)) == pytest.approx((3 + 12) / 2)


def test_r1_s_own_gradient_reaches_the_discriminator() -> None:
    weight = nn.Parameter(torch.tensor(3.0))
    r1_penalty(lambda x, c: weight * x.sum(dim=(1, 2, 3)), torch.zeros(4, 3, 2, 2), torch.zeros(4, 1)).backward()
    assert float(weight.grad) == pytest.approx(2 * 3 * 12)  # type: ignore[arg-type]


def test_gradient_penalty_is_taken_on_the_line_between_real_and_false() -> None:
    real, fake, codes = torch.full((2, 3, 1, 1), 1.0), torch.zeros(2, 3, 1, 1), torch.ones(2, 1)
    mix = torch.tensor([0.25, 1.0])
    expected = sum((m * math.sqrt(3) - 1) ** 2 for m in (0.25, 1.0)) / 2
    assert float(gradient_penalty(square, real, fake, codes, mix)) == pytest.approx(expected)


def test_path_length_of_a_linear_generator_is_the_norm_of_its_transpose_times_the_noise() -> None:
    torch.manual_seed(0)
    jacobian, styles, noise = torch.randn(3 * 16, 5), torch.randn(4, 5, requires_grad=True), torch.randn(4, 3, 4, 4)
    images = (styles @ jacobian.T).reshape(4, 3, 4, 4)
    expected = (noise.reshape(4, -1) / 4 @ jacobian).norm(dim=1)
    assert torch.allclose(path_lengths(images, styles, noise), expected, atol=1e-5)


def test_path_length_penalty_is_the_squared_distance_from_a_running_mean_that_is_saved() -> None:
    regulariser = PathLength()
    lengths = torch.tensor([2.0, 4.0], requires_grad=True)
    penalty = regulariser.penalty(lengths, Alone())  # type: ignore[arg-type]
    mean = PATH_DECAY * 3
    assert float(regulariser.state_dict()["mean"]) == pytest.approx(mean)
    assert float(penalty) == pytest.approx(((2 - mean) ** 2 + (4 - mean) ** 2) / 2)
    penalty.backward()  # the mean is no path of the gradient
    assert lengths.grad is not None
    assert lengths.grad.tolist() == pytest.approx([2 - mean, 4 - mean])


def test_sameness_is_one_for_one_picture_and_nothing_for_pictures_as_far_apart_as_real_ones() -> None:
    torch.manual_seed(0)
    real = torch.rand(8, 3, 32, 32) * 2 - 1
    assert float(diversity_sensitive(real, real, real)) == 1
    assert float(diversity_sensitive(real, real.roll(1, 0), real)) < 0.1
    darker, grain = real - 0.3, real + 0.3 * (torch.arange(32) % 2 * 2 - 1)
    assert float(diversity_sensitive(real, darker, real)) == pytest.approx(1, abs=1e-4)  # tone is a condition
    assert float(diversity_sensitive(real, grain, real)) == pytest.approx(1, abs=1e-4)
    assert coarse(real).shape == (8, 3 * 16)


def test_a_frozen_network_passes_gradients_on_and_keeps_none() -> None:
    net, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with frozen(net) as still:
        still(x).sum().backward()
    assert net.weight.grad is None
    assert x.grad is not None
    assert net.weight.requires_grad


@given(st.integers(0, 255))
def test_pixels_survive_the_way_to_images_and_back(value: int) -> None:
    pixels = torch.full((1, 2, 2, 3), value, dtype=torch.uint8)
    assert torch.equal(pixels_of(signed(pixels)), pixels)


@given(st.integers(1, 1024))
def test_only_powers_of_two_from_16_can_be_doubled_to(resolution: int) -> None:
    if resolution in (16, 32, 64, 128, 256, 512, 1024):
        assert 4 * 2 ** doublings(resolution, "dcgan") == resolution
        return
    with pytest.raises(ParamsError) as caught:
        doublings(resolution, "dcgan")
    assert str(caught.value) == (
        f"ingest.resolution: got {resolution} px; dcgan doubles 4 px up to it and needs 16, 32, 64, 128, ...; use 64"
    )
