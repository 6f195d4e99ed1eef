"""Whether a run should go on: early stop on the worst group's KID, and a stop when samples lose their variety."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from schemas.errors import CheckFailed
from schemas.train_params import WatchParams

FLAT_TWICE = 2
"""Looks in a row without variety that make a collapse: one may be chance."""

GRACE = 0.3
"""Share of the run before which sameness is no verdict: a GAN begins with one picture, diffusion with blurs."""


@dataclass(frozen=True)
class Seen:
    """What samples of a run under way showed."""

    diversity: float | None = None  # variety within a cell, over that of real images; None: not measured
    kid: Mapping[str, float] = field(default_factory=dict)  # by group, against real validation images

    def rows(self, images: int) -> list[dict[str, Any]]:
        """Return what was measured as plain `LookRow`s."""
        rows = [{"images": images, "measure": "kid", "group": group, "value": v} for group, v in self.kid.items()]
        if self.diversity is not None:
            rows.append({"images": images, "measure": "diversity", "group": "all", "value": self.diversity})
        return rows


class Watch(nn.Module):
    """Remembers the best look so far. Buffers alone, part of the run's state, so that a resumed run stops where it would have."""

    best: Tensor
    best_at: Tensor  # step
    waited: Tensor
    flat: Tensor
    stop: Tensor

    def __init__(self, name: str, params: WatchParams, images: int) -> None:
        """Watch a run of so many images."""
        super().__init__()
        self.name, self.params, self.budget = name, params, images
        self.register_buffer("best", torch.tensor(float("inf")))
        for counter in ("best_at", "waited", "flat", "stop"):
            self.register_buffer(counter, torch.tensor(0))

    @property
    def stopped(self) -> bool:
        """Return whether the run ends here."""
        return bool(self.stop)

    @property
    def doubtful(self) -> bool:
        """Return whether the last look was one without variety."""
        return bool(self.flat)

    @property
    def best_step(self) -> int | None:
        """Return the step whose worst group was best; None if no look was taken."""
        return int(self.best_at) or None

    def look(self, seen: Seen, step: int, images: int) -> None:
        """Take one look in: remember the step if the worst group's KID is the lowest so far, count the look if not.

        Raises:
            CheckFailed: the samples have had no variety twice running.
        """
        self._check_variety(seen.diversity, images)
        if not self.params.patience or not seen.kid:
            return
        worst = max(seen.kid.values())
        if worst < float(self.best):
            self.best.fill_(worst)
            self.best_at.fill_(step)
            self.waited.zero_()
            return
        self.waited += 1
        self.stop.fill_(int(self.waited >= self.params.patience))

    def agree(self, accelerator: Accelerator) -> None:
        """Give every process the first one's decision."""
        self.stop.copy_(accelerator.reduce(self.stop.clone().to(accelerator.device), "sum").clamp_max(1).cpu())

    def said(self, batch: int) -> dict[str, Any]:
        """Return what came of watching a run of that batch size, JSON-able."""
        best = self.best_step
        return {
            "stopped_early": self.stopped,
            "best_worst_kid": float(self.best) if best else None,
            "best_images": best * batch if best else None,
        }

    def _check_variety(self, diversity: float | None, images: int) -> None:
        if diversity is None or images <= GRACE * self.budget:
            return
        self.flat.copy_(self.flat + 1 if diversity < self.params.least_diversity else torch.zeros_like(self.flat))
        if int(self.flat) >= FLAT_TWICE:
            raise CheckFailed(
                f"train {self.name}: after {images:,} images the samples of a cell vary {diversity:.3f} times as much as "
                f"real ones, twice running; at least {self.params.least_diversity:g} is needed (collapse); lower "
                f"train.{self.name}.learning_rate, train longer, or lower train.{self.name}.watch.least_diversity"
            )
