"""Which blocks are needed. Rounds are replayed from the start, so what is scheduled never depends on when a run was
stopped: the same blocks, hence the same ledger, whether it ran through or was killed ten times."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.produce.acceptance import round_attempts
from pipelines.produce.attempts import BlockPlan, block_path, plan_block, read_block, read_thumbs
from pipelines.produce.plan import ProductionPlan, StratumPlan
from pipelines.produce.rates import timed
from pipelines.produce.selection import Decision, Selection
from pipelines.produce.traits import Traits, traits_of
from schemas.paths import Workspace


class Schedule:
    """What is done and what is missing: a function of the plan and the blocks that are there.

    One object goes through a production and reads each block once; a new one comes to the same by reading them again.
    Not to be used by two threads at once.
    """

    def __init__(self, workspace: Workspace, plan: ProductionPlan) -> None:
        """Read nothing yet."""
        self._workspace, self._plan = workspace, plan
        self._selection = Selection(plan, self._thumb)
        self._done: dict[str, list[BlockPlan]] = {stratum.name: [] for stratum in plan.strata}
        self._round = self._next_round()
        self._arrived: dict[str, Traits] = {}  # blocks of this round, by key

    def missing(self) -> list[BlockPlan]:
        """Take in what has been made; return what to make now, [] when every stratum is full or out of attempts."""
        with timed(self._workspace, "schedule") as measured:
            while self._round:
                missing = [block for block in self._round if not self._arrives(block)]
                if missing:
                    return missing
                measured.attempts += sum(block.stop - block.start for block in self._round)
                self._finish_round()
            return []

    def blocks(self, stratum: StratumPlan) -> Sequence[BlockPlan]:
        """Return the blocks of a stratum in the rounds that are finished, in seed order."""
        return self._done[stratum.name]

    def decisions(self, stratum: StratumPlan) -> Iterator[Decision]:
        """Yield the decisions on a stratum's attempts, in seed order; final once nothing is missing."""
        return self._selection.decisions(stratum.name)

    def _arrives(self, block: BlockPlan) -> bool:
        if block.key not in self._arrived:
            rows = read_block(self._workspace, self._plan, block)
            if rows is None:
                return False
            self._arrived[block.key] = traits_of(rows)
        return True

    def _finish_round(self) -> None:
        found: dict[str, list[Traits]] = {}
        for block in self._round:
            self._done[block.stratum.name].append(block)
            found.setdefault(block.stratum.name, []).append(self._arrived[block.key])
        self._selection.take(found)
        self._arrived.clear()
        self._round = self._next_round()

    def _next_round(self) -> list[BlockPlan]:
        """Return the blocks of every stratum that needs more."""
        return [block for stratum in self._plan.strata for block in self._next_blocks(stratum)]

    def _next_blocks(self, stratum: StratumPlan) -> Iterator[BlockPlan]:
        start = self._selection.attempts(stratum.name)
        stop = start + attempts_needed(self._plan, stratum, start, self._selection.accepted(stratum.name))
        return cut_round(self._plan, stratum, start, stop)

    def _thumb(self, stratum: str, seed_index: int) -> NDArray[np.uint8]:
        """Return an attempt's thumbnail, also in the round that is being finished."""
        blocks = self._done[stratum]
        block = blocks[bisect_right(blocks, seed_index, key=lambda one: one.start) - 1]
        found: NDArray[np.uint8] = read_thumbs(block_path(self._workspace, block))[seed_index - block.start]
        return found


def cut_round(plan: ProductionPlan, stratum: StratumPlan, start: int, stop: int) -> Iterator[BlockPlan]:
    """Yield attempts [start, stop) as blocks of about one size, none larger than the plan's."""
    if stop > start:
        size = math.ceil((stop - start) / math.ceil((stop - start) / plan.block))
        for at in range(start, stop, size):
            yield plan_block(plan, stratum, at, min(at + size, stop))


def attempts_needed(plan: ProductionPlan, stratum: StratumPlan, attempts: int, accepted: int) -> int:
    """Return how many more attempts a stratum gets in the next round; 0 when it is full or out of attempts."""
    if accepted >= stratum.quota or attempts >= stratum.attempts:
        return 0
    if not attempts and stratum.first:
        return stratum.first
    # At least a quarter block: a sampler is no quicker on one image than on a few.
    least = math.ceil(plan.block / 4)
    more = round_attempts(stratum.quota - accepted, accepted, attempts, least=least, confidence=plan.confidence)
    return min(more, stratum.attempts - attempts)
