"""A whole production in one process, for a library user; flows/produce.py does the same with tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pipelines.embedding.extractor import Extractor
from pipelines.produce.blocks import BlockCount, BlockPlan, produce_block, timed_round
from pipelines.produce.calibrate import calibrate_gates
from pipelines.produce.pilot import decide, pilot_blocks, pilot_plans
from pipelines.produce.plan import ProductionPlan, plan_production
from pipelines.produce.rates import record
from pipelines.produce.result import ProductionResult
from pipelines.produce.schedule import Schedule
from pipelines.produce.settle import settle_production
from schemas.params import Params
from schemas.paths import Workspace
from schemas.timing import Timing

if TYPE_CHECKING:
    from pipelines.produce.models import Given


def produce_quotas(
    workspace: Workspace,
    params: Params,
    *,
    generator: Given = None,
    extractor: Extractor | None = None,
    on_block: Callable[[BlockCount], None] | None = None,
) -> ProductionResult:
    """Return what came of every stratum. Stopped at any moment, the next call goes on from the blocks that are whole.

    Args:
        generator: in place of the trained ones: one, or several between which a pilot chooses for each stratum.

    Raises:
        UserError: what is asked cannot be made; see `plan_production`.
    """
    given = {g.name: g for g in (generator if isinstance(generator, Sequence) else [generator]) if g is not None}

    def make(plan: ProductionPlan, blocks: Iterable[BlockPlan]) -> None:
        timed_round(workspace, params, lambda: (one(plan, block) for block in blocks))

    def one(plan: ProductionPlan, block: BlockPlan) -> BlockCount:
        mine = given.get(block.stratum.generator)
        count = produce_block(workspace, params, plan, block, generator=mine, extractor=extractor)
        if on_block:
            on_block(count)
        return count

    begun = time.monotonic()
    calibrate_gates(workspace, params, extractor)
    if trials := pilot_plans(workspace, params, generator):
        for trial, blocks in zip(trials, pilot_blocks(workspace, params, trials), strict=True):
            make(trial, blocks)
        decide(workspace, params, trials, extractor)
    plan = plan_production(workspace, params, generator)
    if not trials:
        record(workspace, Timing(what="start", seconds=time.monotonic() - begun))
    schedule = Schedule(workspace, plan)
    while upcoming := schedule.missing():
        make(plan, upcoming)
    return settle_production(workspace, params, plan, schedule)
