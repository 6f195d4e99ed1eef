"""Averages of the weights with power-function profiles, from which one of any length is put together afterwards.

Source: Karras et al. (2024), "Analyzing and Improving the Training Dynamics of Diffusion Models" (EDM2), section 3 and
appendix C. The average at step t is the integral over tau from 0 to t of p(tau) theta(tau), with
p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1). A profile is named by its *length*: the standard deviation of p as a share of
the run, 0.1 for an average over about the last tenth; the largest there can be is 0.289 (gamma 0, every step alike).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.train.sharding import whole

TRACKED: Final = (0.05, 0.10)
"""Lengths of the two averages that a run keeps, as the authors do; all others are sums of their snapshots."""

LARGEST_ERROR: Final = 0.1
"""Relative error of a profile put together from snapshots from which it is refused."""


@dataclass(frozen=True)
class Profile:
    """An average's weighting of the steps of a run."""

    step: int  # the last one it has seen
    length: float  # share of the run

    @property
    def gamma(self) -> float:
        """Return the exponent whose profile has this length."""
        return gamma_of(self.length)


def gamma_of(length: float) -> float:
    """Return gamma for a profile's relative standard deviation (EDM2, equation 126).

    length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), a cubic in gamma with one root above -1.

    Raises:
        ValueError: the length is not in (0, 0.2886).
    """
    if not 0 < length < 12**-0.5:
        raise ValueError(f"length {length:g} of an average; it needs to be above 0 and below 0.288")
    roots = np.roots([1, 7, 16 - length**-2, 12 - length**-2])
    return float(roots[np.isreal(roots)].real.max())


def decay_at(step: int, length: float) -> float:
    """Return the share of the old average that stays when step `step` (from 1) joins: (1 - 1/t)^(gamma + 1)."""
    return float((1 - 1 / step) ** (gamma_of(length) + 1))


def overlap(a: Profile, b: Profile) -> float:
    """Return the inner product of two profiles, the integral of their product over the run.

    (ga + 1)(gb + 1) / (ga + gb + 1) * m^(ga + gb + 1) / (ta^(ga + 1) tb^(gb + 1)) with m = min(ta, tb).
    """
    first, second = (a, b) if a.step <= b.step else (b, a)
    scale = (first.gamma + 1) * (second.gamma + 1) / (first.gamma + second.gamma + 1)
    return float(scale * (first.step / second.step) ** second.gamma / second.step)


def shares(target: Profile, taken: Sequence[Profile]) -> tuple[NDArray[np.float64], float]:
    """Return the shares (n,) of the snapshots whose sum is nearest the target, and its relative error, 0 to 1.

    Least squares over the profiles (EDM2, appendix C.3). A snapshot of the target itself is taken alone, bit for bit.
    The error is the root of |target - sum|^2 / |target|^2; 1 where there is no snapshot.
    """
    if target in taken:
        return np.array([float(p == target) for p in taken]), 0.0
    known = [i for i, p in enumerate(taken) if p.step <= target.step]
    result = np.zeros(len(taken))
    if not known:
        return result, 1.0
    gram = np.array([[overlap(taken[i], taken[j]) for j in known] for i in known])
    right = np.array([overlap(taken[i], target) for i in known])
    found = np.linalg.lstsq(gram, right, rcond=1e-12)[0]
    own = overlap(target, target)
    missed = own - 2 * found @ right + found @ gram @ found
    result[known] = found
    return result, float(np.sqrt(max(missed, 0.0) / own))


class Averages(nn.Module):
    """The averages that a run keeps while it trains, in float32. Part of its state."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.tracked = nn.ModuleList(copy.deepcopy(net).requires_grad_(False) for _ in TRACKED)

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Take in the weights after step `step`, counted from 1; the first is copied."""
        new: list[torch.Tensor] = [whole(p) for p in net.parameters()]
        for length, average in zip(TRACKED, self.tracked, strict=True):
            old: list[torch.Tensor] = list(average.parameters())
            torch._foreach_lerp_(old, new, 1 - decay_at(step, length))

    def nearest(self, length: float) -> nn.Module:
        """Return the kept average whose length is nearest: what is looked at while the run goes on."""
        return self.tracked[nearest_tracked(length)]


def nearest_tracked(length: float) -> int:
    """Return the place in `TRACKED` of the length nearest to this one."""
    return min(range(len(TRACKED)), key=lambda i: abs(TRACKED[i] - length))
