"""Random numbers of one training step: the same for an image whichever process holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Numbers for the images of one process out of `world`.

    Every process draws the whole global batch's numbers and keeps each `world`-th from `rank` on, which are its own
    images'. One process or four then see the same noise, and differ only in the order of a sum. Numbers are drawn where
    `rng` lives, and lie there: a GPU's are others than a CPU's.
    """

    rng: torch.Generator
    rank: int = 0
    world: int = 1

    def uniform(self, n: int) -> Tensor:
        """Return (n,) float32 in [0, 1)."""
        return self._mine(torch.rand(n * self.world, **self._here))

    def normal(self, n: int, *shape: int) -> Tensor:
        """Return standard normal (n, *shape) float32."""
        return self._mine(torch.randn(n * self.world, *shape, **self._here))

    def below(self, limit: int, n: int) -> Tensor:
        """Return (n,) integers 0 to limit - 1."""
        return self._mine(torch.randint(0, limit, (n * self.world,), **self._here))

    def stratified(self, n: int) -> Tensor:
        """Return (n,) float32 in [0, 1), one in each n-th of the global batch's: less luck than independent ones."""
        every = n * self.world
        return self._mine((torch.arange(every, device=self.rng.device) + torch.rand(every, **self._here)) / every)

    def shared(self, low: int, high: int, n: int) -> list[int]:
        """Return n integers from low to high - 1, the same in every process."""
        return [int(v) for v in torch.randint(low, high, (n,), **self._here)]

    @property
    def _here(self) -> dict[str, Any]:
        return {"generator": self.rng, "device": self.rng.device}

    def _mine(self, every: Tensor) -> Tensor:
        return every[self.rank :: self.world]


def step_draws(seed: int, step: int, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> Draws:
    """Return the draws of one step: a function of (seed, step), so that a run resumed on such a device goes on exactly."""
    state = int(np.random.SeedSequence([seed, step, 0]).generate_state(1)[0])
    return Draws(torch.Generator(device).manual_seed(state), rank, world)
