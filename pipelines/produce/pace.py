"""What one attempt, a start, a round and the settling take on this machine, as a distribution of what was measured."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.timing import Timing

FEWEST_BLOCKS: Final = 3
"""With fewer blocks measured at the asked number of workers, those at another number are scaled."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """Seconds of something that is done to n attempts: fixed + each * n."""

    fixed: float = 0.0
    each: float = 0.0

    def of(self, attempts: float) -> float:
        """Return the seconds for that many attempts."""
        return self.fixed + self.each * attempts


@dataclass(frozen=True)
class Pace:
    """How fast blocks are made by a number of workers, oldest measurement first."""

    seconds: Floats  # an attempt, in each measured block
    sharing: tuple[float, float]  # that times this: least and most that so many workers slow each other down
    bytes: Floats  # an attempt, in the same blocks
    first: float  # seconds that a process's first block takes longer: it loads the models
    start: Floats  # seconds until the first block, in each measured start; empty if never measured
    overhead: float  # seconds a block costs beside its own
    schedule: Cost
    settle: Cost
    settled_bytes: float  # an attempt, in ledger and shards
    device: str
    scaled_from: int | None  # the number of workers that was measured, where it is not the asked one


def pace_of(timings: Sequence[Timing], generators: Collection[str], workers: int, cores: int) -> Pace | None:
    """Return the pace of `workers` workers that share `cores` processor cores; None if no block was measured.

    Blocks measured with as many workers count as they are. Else those of another number W are scaled, between two bounds:
    N blocks at once that each keep u cores busy take max(1, N u / cores) times as long as one, so at best a time is
    multiplied by that for N over that for W (u: processor time over clock time of a block, with the fewest workers
    measured), and at worst by N / W, which is no gain at all: locks, memory and other load are not known beforehand.
    """
    blocks = [t for t in timings if t.what == "block" and t.generator in generators and t.attempts]
    firsts = [t for t in timings if t.what == "first" and t.generator in generators and t.attempts]
    if not blocks:
        blocks = firsts  # a production of one block
    if not blocks:
        return None
    device = blocks[-1].device
    blocks = [t for t in blocks if t.device == device]
    same = [t for t in blocks if t.workers == workers]
    fewest = min(t.workers for t in blocks)
    scaled = len(same) < FEWEST_BLOCKS and any(t.workers != workers for t in blocks)
    used = [t for t in blocks if t.workers == fewest] if scaled else same
    share = float(np.median([t.busy / t.seconds for t in blocks if t.workers == fewest and t.seconds > 0] or [1.0]))
    best = _slowdown(workers, share, cores) / _slowdown(used[0].workers, share, cores)
    worst = workers / used[0].workers
    seconds = np.array([t.seconds / t.attempts for t in used])
    settled = [t.bytes / t.attempts for t in timings if t.what == "settle" and t.attempts]
    later = [t.seconds - float(np.median(seconds)) * t.attempts for t in firsts]
    return Pace(
        seconds=seconds,
        sharing=(min(best, worst), max(best, worst)) if scaled else (1.0, 1.0),
        bytes=np.array([t.bytes / t.attempts for t in used]),
        first=max(0.0, float(np.median(later))) if later else 0.0,
        start=np.array([t.seconds for t in timings if t.what == "start"]),
        overhead=_overhead(timings),
        schedule=fit_cost([t for t in timings if t.what == "schedule"]),
        settle=fit_cost([t for t in timings if t.what == "settle"]),
        settled_bytes=float(np.median(settled)) if settled else 0.0,
        device=device,
        scaled_from=used[0].workers if scaled and used[0].workers != workers else None,
    )


def _slowdown(workers: int, share: float, cores: int) -> float:
    return max(1.0, workers * share / cores)


def _overhead(timings: Sequence[Timing]) -> float:
    """Return the seconds a block costs beside its own, from rounds in which waiting for the last one weighs little."""
    rounds = [t for t in timings if t.what == "round" and t.blocks >= 2 * t.workers]
    beside = [(t.seconds * t.workers - t.busy) / t.blocks for t in rounds]
    return max(0.0, float(np.median(beside))) if beside else 0.0


def fit_cost(timings: Sequence[Timing]) -> Cost:
    """Return the line through seconds by attempts, neither part below 0: least squares on the relative error.

    Measured at one size only, everything is laid to the attempts where there are any: that is too much for a larger
    production rather than too little.
    """
    if not timings:
        return Cost()
    n, s = np.array([t.attempts for t in timings], float), np.array([t.seconds for t in timings])
    if not n.max():
        return Cost(fixed=float(np.median(s)))
    if n.max() < 2 * n.min():
        return Cost(each=float(np.median(s / n)))
    weight = 1 / np.maximum(s, 1e-3)
    design = np.stack([np.ones_like(n), n], axis=1) * weight[:, None]
    (fixed, each), *_ = np.linalg.lstsq(design, s * weight, rcond=None)
    if fixed < 0:
        return Cost(each=float(np.median(s[n > 0] / n[n > 0])))
    return Cost(fixed=float(fixed), each=max(0.0, float(each)))
