"""Which blocks are needed. Rounds are replayed from the start each time, so what is scheduled never depends on when a
run was stopped: the same blocks, hence the same ledger, whether it ran through or was killed ten times."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from pipelines.produce.attempts import BlockPlan, BlockRow, plan_block, read_block
from pipelines.produce.plan import ProductionPlan, StratumPlan
from pipelines.produce.selection import Decision, select
from schemas.paths import Workspace

PRIOR_ACCEPTED: Final = 3
PRIOR_ATTEMPTS: Final = 4
"""Before the first attempt 3 in 4 are expected to pass; each attempt weighs as much as one of these four."""


@dataclass
class Schedule:
    """What is done and what is missing. `decisions` are final once nothing is missing."""

    done: list[BlockPlan] = field(default_factory=list)
    missing: list[BlockPlan] = field(default_factory=list)
    attempts: dict[str, list[BlockRow]] = field(default_factory=dict)
    decisions: dict[str, list[Decision]] = field(default_factory=dict)


def replay(workspace: Workspace, plan: ProductionPlan) -> Schedule:
    """Return the schedule after every finished round, and the blocks of the first unfinished one that are missing."""
    schedule = Schedule(attempts={stratum.name: [] for stratum in plan.strata})
    while True:
        schedule.decisions = select(plan, schedule.attempts)
        wanted = [block for stratum in plan.strata for block in _next_round(plan, stratum, schedule)]
        found = {block.key: read_block(workspace, plan, block) for block in wanted}
        schedule.missing = [block for block in wanted if found[block.key] is None]
        if schedule.missing or not wanted:
            return schedule
        for block in wanted:
            schedule.attempts[block.stratum.name].extend(found[block.key] or [])
        schedule.done.extend(wanted)


def _next_round(plan: ProductionPlan, stratum: StratumPlan, schedule: Schedule) -> list[BlockPlan]:
    """Return the blocks of one stratum's next round; none when it is full or out of attempts."""
    decisions = schedule.decisions[stratum.name]
    accepted = sum(d.accepted for d in decisions)
    start = len(decisions)
    if accepted >= stratum.quota or start >= stratum.attempts:
        return []
    rate = (accepted + PRIOR_ACCEPTED) / (start + PRIOR_ATTEMPTS)
    # At least a quarter block: a sampler is no quicker on one image than on a few.
    more = max(math.ceil((stratum.quota - accepted) / rate), math.ceil(plan.block / 4))
    stop = min(start + more, stratum.attempts)
    pieces = math.ceil((stop - start) / plan.block)
    size = math.ceil((stop - start) / pieces)
    return [plan_block(plan, stratum, at, min(at + size, stop)) for at in range(start, stop, size)]
