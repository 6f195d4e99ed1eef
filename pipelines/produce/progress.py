"""How far a production is: by stratum what was accepted, refused and why, how fast, and how long it will still take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pipelines.produce.acceptance import FIRST_RATE
from pipelines.produce.blocks import BlockCount
from pipelines.produce.gates import GATES, SURPLUS
from pipelines.produce.plan import ProductionPlan
from pipelines.produce.schedule import Schedule


@dataclass
class StratumProgress:
    """One stratum so far. Within a round `accepted` may be too high by images that repeat others; then it is exact."""

    name: str
    quota: int
    limit: int
    attempts: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # by the first gate that refused; `surplus` too

    @property
    def attempts_left(self) -> float:
        """Return the attempts it will take to fill the stratum at the rate seen so far, within its limit."""
        missing = self.quota - self.accepted
        if missing <= 0:
            return 0.0
        rate = self.accepted / self.attempts if self.accepted else FIRST_RATE if not self.attempts else 0.0
        left = self.limit - self.attempts
        return min(left, missing / rate) if rate else left


class Progress:
    """Counts blocks as they come. Not to be used by two threads at once."""

    def __init__(self, plan: ProductionPlan, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin at nothing."""
        self._clock, self._begun = clock, clock()
        self._made = 0  # attempts since then, those found on disk not counted
        self._passed = 0
        self.strata = {s.name: StratumProgress(s.name, s.quota, s.attempts) for s in plan.strata}

    def take(self, count: BlockCount) -> None:
        """Count one block that is done."""
        one = self.strata[count.stratum]
        one.attempts += count.attempts
        kept = min(count.passed, one.quota - one.accepted)
        one.accepted += kept
        one.rejected.update(count.rejected)
        one.rejected[SURPLUS] += count.passed - kept
        if not count.reused:
            self._made += count.attempts
            self._passed += kept

    def settle_round(self, plan: ProductionPlan, schedule: Schedule) -> None:
        """Take over what the finished rounds came to: exact, images that repeat others no longer counted."""
        for stratum in plan.strata:
            reasons = Counter(decision.reason for decision in schedule.decisions(stratum))
            one = self.strata[stratum.name]
            one.attempts, one.accepted = reasons.total(), reasons[None]
            one.rejected = Counter({gate: n for gate, n in reasons.items() if gate is not None})

    @property
    def images_per_s(self) -> float:
        """Return the accepted images a second since this run began."""
        return self._passed / max(self._clock() - self._begun, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Return the seconds until every stratum is full or out of attempts; None before the first block."""
        left = sum(one.attempts_left for one in self.strata.values())
        return left * (self._clock() - self._begun) / self._made if self._made else None

    def total(self) -> StratumProgress:
        """Return all strata together."""
        every: Sequence[StratumProgress] = list(self.strata.values())
        whole = StratumProgress("total", sum(s.quota for s in every), sum(s.limit for s in every))
        for one in every:
            whole.attempts += one.attempts
            whole.accepted += one.accepted
            whole.rejected.update(one.rejected)
        return whole


def reasons_line(rejected: Counter[str], order: Iterable[str] = (*GATES, SURPLUS)) -> str:
    """Return e.g. `tone 12, lesion 40, surplus 3`, in the gates' order; a dash for none."""
    return ", ".join(f"{gate} {rejected[gate]:,}" for gate in order if rejected[gate]) or "-"


def duration(seconds: float | None) -> str:
    """Return seconds as e.g. `48 s`, `3 min 20 s`, `5 h 12 min` or `3 d 4 h`; a question mark for None."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    for large, small, per in (("d", "h", 3600), ("h", "min", 60), ("min", "s", 1)):
        unit = per * (24 if large == "d" else 60)
        if whole >= unit:
            return f"{whole // unit} {large} {whole % unit // per} {small}"
    return f"{whole} s"
