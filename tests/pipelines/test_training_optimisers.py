"""Muon beside AdamW: which weights it moves, how far in each direction, and that a resumed run ends the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_training import BUDGET, began, same, train
from torch import nn

from pipelines.train.optimisers import MATRIX_RATE, Muon, optimiser, set_rate

BETAS = (0.9, 0.99)
RATE = 1e-3


class Net(nn.Module):
    """A kernel and a matrix wide enough for Muon, and everything that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(48, 64, 3)
        self.linear = nn.Linear(96, 48)
        self.narrow = nn.Conv2d(64, 24, 3)
        self.norm = nn.GroupNorm(8, 64)
        self.table = nn.Embedding(64, 64)


def with_gradients(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    net = Net()
    for parameter in net.parameters():
        uneven = torch.linspace(1, 10, len(parameter)).reshape(-1, *[1] * (parameter.ndim - 1))
        parameter.grad = torch.randn_like(parameter) * uneven
    return net


def stepped(name: str) -> tuple[dict[str, torch.Tensor], Net]:
    """Return the weights before a step, and the network after it."""
    net = with_gradients()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser(name, net, list(net.parameters()), RATE, BETAS).step()  # type: ignore[arg-type]
    return before, net


def test_a_matrix_moves_as_far_in_every_direction_and_as_far_as_adamw_at_its_rate() -> None:
    before, net = stepped("muon")
    for name in ("wide", "linear"):
        moved = (net.get_submodule(name).weight.detach() - before[f"{name}.weight"]).flatten(1)  # type: ignore[operator]
        lengths = torch.linalg.svdvals(moved) / (RATE * MATRIX_RATE * 0.2 * max(moved.shape) ** 0.5)
        assert lengths.min() > 0.5
        assert lengths.max() < 1.3
        assert float(moved.square().mean().sqrt()) == pytest.approx(0.2 * RATE * MATRIX_RATE, rel=0.2)
    gradient = with_gradients().wide.weight.grad
    assert gradient is not None
    uneven = torch.linalg.svdvals(gradient.flatten(1))
    assert uneven.max() > 5 * uneven.min()


def test_everything_else_moves_as_by_adamw_alone() -> None:
    (_, muon), (_, adamw) = stepped("muon"), stepped("adamw")
    apart = {k for k, v in muon.state_dict().items() if not torch.equal(v, adamw.state_dict()[k])}
    assert apart == {"wide.weight", "linear.weight"}


def test_the_rate_of_matrices_follows_the_others() -> None:
    net = with_gradients()
    both = Muon(net, list(net.parameters()), RATE, BETAS)
    set_rate([both], 2e-4)
    assert [group["lr"] for group in both.param_groups] == pytest.approx([2e-4 * MATRIX_RATE, 2e-4])
    before = net.wide.weight.detach().clone()
    both.step()
    moved = net.wide.weight.detach() - before
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.2 * 2e-4 * MATRIX_RATE, rel=0.2)


def test_a_gradient_is_forgotten_and_a_weight_without_one_stays() -> None:
    net = with_gradients()
    both = Muon(net, list(net.parameters()), RATE, BETAS)
    both.step()
    both.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    both.step()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_run_with_muon_that_was_stopped_ends_with_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    budget = replace(BUDGET, optimizer="muon")
    whole = train("diffusion", tmp_path / "whole", budget=budget)
    with pytest.raises(KeyboardInterrupt):
        train("diffusion", tmp_path / "cut", stop_after=5, budget=budget)
    resumed = train("diffusion", tmp_path / "cut", budget=budget)
    assert began(resumed) == 4
    assert same(resumed.recipe.net, whole.recipe.net)
    assert same(resumed.average, whole.average)
    assert resumed.log == whole.log
    assert not same(whole.recipe.net, train("diffusion", tmp_path / "adamw").recipe.net)
