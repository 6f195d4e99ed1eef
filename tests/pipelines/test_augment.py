"""Adaptive augmentation: p follows the discriminator's signs, is saved, and moves no colour."""

from __future__ import annotations

import pytest
import torch
from test_adversarial import Alone
from torch import Tensor

from pipelines.generators.augment import INTERVAL, MOST, AdaptiveAugmentation, transformations
from pipelines.generators.draws import step_draws


def fed(augment: AdaptiveAugmentation, scores: Tensor, batches: int) -> float:
    """Show the same scores of real images for some batches and return p."""
    for _ in range(batches):
        augment.adapt(scores, Alone())  # type: ignore[arg-type]
    return float(augment.probability)


def test_p_rises_while_the_discriminator_knows_the_real_images_and_falls_when_it_does_not() -> None:
    augment, sure, unsure = AdaptiveAugmentation(1000), torch.full((10,), 5.0), torch.tensor([1.0, -1.0] * 5)
    assert fed(augment, sure, INTERVAL - 1) == 0
    assert fed(augment, sure, 1) == pytest.approx(10 * INTERVAL / 1000)
    risen = fed(augment, sure, 4 * INTERVAL)
    assert risen == pytest.approx(0.2)
    assert fed(augment, unsure, 2 * INTERVAL) == pytest.approx(risen - 0.08)
    assert fed(augment, unsure, 100 * INTERVAL) == 0
    assert fed(augment, sure, 100 * INTERVAL) == pytest.approx(MOST)  # beyond it, what is applied would leak


def test_a_network_that_overfits_raises_p_and_one_that_cannot_does_not() -> None:
    torch.manual_seed(0)
    real = torch.randn(10, 3, 8, 8)
    fake = torch.randn(400, 3, 8, 8)  # the same distribution: only learning by heart tells them apart
    chances = {}
    for name, rate in (("learns", 0.05), ("stands still", 0.0)):
        net, augment = torch.nn.Linear(192, 1), AdaptiveAugmentation(2000)
        optimiser = torch.optim.SGD(net.parameters(), lr=rate)
        for step in range(60):
            on_real, on_fake = net(real.flatten(1))[:, 0], net(fake[step % 40 :: 40].flatten(1))[:, 0]
            loss = torch.nn.functional.softplus(-on_real).mean() + torch.nn.functional.softplus(on_fake).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            augment.adapt(on_real.detach(), Alone())  # type: ignore[arg-type]
        chances[name] = float(augment.probability)
    assert chances["learns"] > 0.2
    assert chances["stands still"] == 0


def test_what_it_has_counted_is_part_of_the_saved_state() -> None:
    augment, again = AdaptiveAugmentation(1000), AdaptiveAugmentation(1000)
    fed(augment, torch.ones(10), INTERVAL + 2)
    again.load_state_dict(augment.state_dict())
    assert fed(again, torch.ones(10), INTERVAL) == fed(augment, torch.ones(10), INTERVAL) > 0


def test_nothing_is_done_at_p_0_and_something_to_most_at_the_highest() -> None:
    images, augment = torch.rand(32, 3, 16, 16), AdaptiveAugmentation(1000)
    assert augment(images, step_draws(0, 0)) is images
    augment.probability.fill_(MOST)
    moved = (augment(images, step_draws(0, 0)) - images).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert moved.float().mean() > 0.9


def test_colour_is_left_as_it_is() -> None:
    augment = AdaptiveAugmentation(1000)
    augment.probability.fill_(MOST)
    colours = torch.rand(16, 3, 1, 1).expand(-1, -1, 16, 16).contiguous()
    assert torch.allclose(augment(colours, step_draws(1, 0)), colours, atol=1e-5)


def test_two_processes_transform_their_images_as_one_would() -> None:
    whole = transformations(6, 64, 0.7, step_draws(3, 9))
    parts = [transformations(3, 64, 0.7, step_draws(3, 9, rank, 2)) for rank in (0, 1)]
    assert torch.allclose(whole[0::2], parts[0])
    assert torch.allclose(whole[1::2], parts[1])


def test_each_part_is_applied_with_probability_p() -> None:
    still = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    for p in (0.0, 0.3, 0.8):
        theta = transformations(4000, 64, p, step_draws(5, 0))
        share = float(((theta - still).abs() < 1e-6).all(dim=2).all(dim=1).float().mean())
        assert share == pytest.approx((1 - p) ** 5, abs=0.03)  # four parts, the rotations' two chances make a fifth
