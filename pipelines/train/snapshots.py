"""Snapshots of a run's averages on disk, and the average of any length and step that they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.train.averages import LARGEST_ERROR, TRACKED, Averages, Profile, shares
from pipelines.train.state import keep_only, read_tensors, write_tensors, written_by
from schemas.errors import CheckFailed

MOST: Final = 32
"""Snapshots that a run keeps unless it is judged at each: a long run takes them at some of its states only."""


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one run. Written by the first process alone, before the state of the same step."""

    folder: Path
    key: str
    parts: tuple[str, ...]  # the children of a recipe's `net` that are sampled from

    def take(self, averages: Averages, step: int) -> None:
        """Write the averages after `step` steps; a reader never sees a part of them."""
        tensors = {
            f"{place}.{part}.{name}": value
            for place, net in enumerate(averages.tracked)
            for part in self.parts
            for name, value in net.get_submodule(part).named_parameters()
        }
        write_tensors(tensors, {"key": self.key, "step": step}, self.folder, step)

    def steps(self, until: int) -> list[int]:
        """Return the steps up to `until` of which there is a whole snapshot of this run."""
        return [s for s in written_by(self.folder, self.key) if s <= until and self._read(s) is not None]

    def drop_others(self, writes: bool = True) -> None:
        """Remove other runs' snapshots. For when this run has a whole state: until then another one may still be gone on
        with.

        Args:
            writes: false in all processes but the first.
        """
        if writes:
            keep_only(self.folder, written_by(self.folder, self.key))

    @torch.no_grad()
    def put_together(self, length: float, step: int, into: nn.Module) -> float:
        """Copy the average of that length after `step` steps into `into` and return its profile's relative error.

        Raises:
            CheckFailed: the snapshots do not reach it.
        """
        taken = [Profile(s, length) for s in self.steps(step) for length in TRACKED]
        share, error = shares(Profile(step, length), taken)
        if error > LARGEST_ERROR:
            count = len(taken) // len(TRACKED)
            raise CheckFailed(
                f"an average of length {length:g} at step {step}: {count} snapshots make its profile up to {error:.2f}; "
                f"at most {LARGEST_ERROR:g} is allowed; use a longer one or save states more often (sheet_every_images)"
            )
        total = self._total(taken, share)
        for part in self.parts:
            for name, weight in into.get_submodule(part).named_parameters():
                weight.copy_(total[f"{part}.{name}"])
        return error

    def _total(
        self, taken: Sequence[Profile], share: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> dict[str, Tensor]:
        """Return the sum by weight in float64: shares of both signs cancel, which float32 would feel."""
        total: dict[str, Tensor] = {}
        for profile, part in zip(taken, share, strict=True):
            if part == 0:
                continue
            found = self._read(profile.step)
            assert found is not None
            lead = f"{TRACKED.index(profile.length)}."
            for name, value in found.items():
                if name.startswith(lead):
                    name = name.removeprefix(lead)
                    total[name] = total.get(name, torch.zeros(())) + part * value.double()
        return total

    def _read(self, step: int) -> dict[str, Tensor] | None:
        found = read_tensors(self.folder, step)
        return found[1] if found is not None and found[0]["key"] == self.key else None


def reach(length: float, steps: Sequence[int], end: int) -> float:
    """Return the relative error with which snapshots at these steps will make an average of that length at `end`."""
    return shares(Profile(end, length), [Profile(s, tracked) for s in steps for tracked in TRACKED])[1]


def snapshot_steps(total: int, save_every: int, judged: bool) -> list[int]:
    """Return the steps of a run of `total` steps at which its averages are kept: its states, thinned, and its end."""
    states = list(range(save_every, total, save_every))
    thin = 1 if judged else -(-max(1, len(states)) // MOST)
    return sorted({*states[thin - 1 :: thin], total})
