"""A production played through, event by event, with what was measured here: nothing is drawn and nothing is written.

It follows the real one: rounds by `round_attempts`, blocks handed to the next free worker, a barrier at a round's end,
then the settling. What is uncertain is drawn anew in every run: each stratum's acceptance rate from its posterior, each
round's accepted images from that rate, each block's seconds from the measured ones, and how much workers slow each
other down between the bounds of `pace_of`, where that many were never measured.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.produce.acceptance import round_attempts
from pipelines.produce.pace import Pace

PRIOR_ATTEMPTS: Final = 4
"""How many attempts the rate of all strata together weighs as, in the posterior of one stratum."""
STRETCH: Final = 20
"""Measured blocks in a row that one run draws from: a machine is slow for minutes, not for single blocks."""
MOST_EVENTS: Final = 1_000_000
MOST_RUNS, FEWEST_RUNS = 200, 8


@dataclass(frozen=True)
class Job:
    """One stratum to fill, and what is known of its acceptance."""

    quota: int
    limit: int  # attempts
    accepted: int = 0  # of `attempts` made earlier
    attempts: int = 0


@dataclass(frozen=True)
class Run:
    """One production as it might go."""

    seconds: float | None  # by the clock; None without a pace
    worker_seconds: float | None  # of all blocks together
    attempts: NDArray[np.int64]  # by stratum
    made: NDArray[np.int64]  # by stratum


def simulate(
    jobs: Sequence[Job],
    pace: Pace | None,
    *,
    workers: int,
    block: int,
    confidence: float,
    processes: int = 1,
    seed: int = 0,
) -> list[Run]:
    """Return productions as they might go; the same ones for the same arguments.

    Args:
        processes: of the workers that each load the models; threads of one process load them once.
    """
    # Apart, so that what is known of time never changes how many attempts are expected.
    rng, of_time = np.random.default_rng(seed).spawn(2)
    rates = posterior(jobs, rng, MOST_RUNS)
    expected = sum(job.quota for job in jobs) / max(float(rates.mean()), 1e-3) / block
    count = int(min(MOST_RUNS, max(FEWEST_RUNS, MOST_EVENTS // max(1, expected))))
    return [
        _play(jobs, rates[i], _Clock(pace, of_time, workers, processes), rng, block=block, confidence=confidence)
        for i in range(count)
    ]


def posterior(jobs: Sequence[Job], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Return acceptance rates (draws, strata): Beta(k + m p, n - k + m (1 - p)) for k accepted of n attempts.

    p is the rate of all strata together and m is `PRIOR_ATTEMPTS`, so that a stratum never tried is thought like the
    others, with little certainty (conjugate update; Gelman et al., Bayesian Data Analysis, section 2.4).
    """
    accepted, attempts = np.array([j.accepted for j in jobs], float), np.array([j.attempts for j in jobs], float)
    pooled = (accepted.sum() + 0.5) / (attempts.sum() + 1)
    a, b = accepted + PRIOR_ATTEMPTS * pooled, attempts - accepted + PRIOR_ATTEMPTS * (1 - pooled)
    return rng.beta(a, b, (draws, len(jobs)))


def _play(
    jobs: Sequence[Job],
    rates: NDArray[np.float64],
    clock: _Clock,
    rng: np.random.Generator,
    *,
    block: int,
    confidence: float,
) -> Run:
    attempts, made = np.zeros(len(jobs), np.int64), np.zeros(len(jobs), np.int64)
    passed = np.zeros(len(jobs), np.int64)
    while True:
        sizes: list[int] = []
        for i, job in enumerate(jobs):
            missing = job.quota - int(made[i])
            if missing <= 0 or attempts[i] >= job.limit:
                continue
            least = math.ceil(block / 4)
            more = round_attempts(missing, int(passed[i]), int(attempts[i]), least=least, confidence=confidence)
            more = min(more, job.limit - int(attempts[i]))
            sizes += _cut(more, block)
            attempts[i] += more
            passed[i] += rng.binomial(more, rates[i])
            made[i] = min(job.quota, passed[i])
        if not sizes:
            return Run(*clock.settled(int(attempts.sum())), attempts, made)
        clock.round(sizes)


def _cut(attempts: int, block: int) -> list[int]:
    pieces = math.ceil(attempts / block)
    size = math.ceil(attempts / pieces)
    return [min(size, attempts - at) for at in range(0, attempts, size)]


class _Clock:
    """The time of one run."""

    def __init__(self, pace: Pace | None, rng: np.random.Generator, workers: int, processes: int) -> None:
        self._pace, self._rng, self._workers = pace, rng, workers
        self._loading = processes
        self._busy = 0.0
        if pace is None:
            return
        at = rng.integers(len(pace.seconds))
        low, high = np.log(pace.sharing)
        self._stretch = np.take(pace.seconds, range(at, at + min(STRETCH, len(pace.seconds))), mode="wrap")
        self._stretch = self._stretch * np.exp(rng.uniform(low, high) if high > low else low)
        self._now = float(rng.choice(pace.start)) if len(pace.start) else 0.0
        self._now += pace.schedule.of(0)

    def round(self, sizes: Sequence[int]) -> None:
        """Hand blocks to the next free worker and wait for the last one."""
        if self._pace is None:
            return
        pace = self._pace
        costs = self._rng.choice(self._stretch, len(sizes)) * np.array(sizes)
        loading = min(self._loading, len(sizes))
        costs[:loading] += pace.first
        self._loading -= loading
        free = [0.0] * min(self._workers, len(sizes))
        for cost in costs.tolist():
            heapq.heapreplace(free, free[0] + cost + pace.overhead)
        self._busy += float(costs.sum())
        self._now += max(free) + pace.schedule.of(sum(sizes))

    def settled(self, attempts: int) -> tuple[float | None, float | None]:
        """Return the seconds by the clock and of all workers."""
        if self._pace is None:
            return None, None
        return self._now + self._pace.settle.of(attempts), self._busy
