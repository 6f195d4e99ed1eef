"""A whole production in one process, for a library user; flows/produce.py does the same with tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.embedding.extractor import Extractor
from pipelines.produce.blocks import BlockCount, produce_block
from pipelines.produce.calibrate import calibrate_gates
from pipelines.produce.plan import plan_production
from pipelines.produce.result import ProductionResult
from pipelines.produce.schedule import Schedule
from pipelines.produce.settle import settle_production
from schemas.params import Params
from schemas.paths import Workspace

if TYPE_CHECKING:
    from pipelines.generators.interface import Generator


def produce_quotas(
    workspace: Workspace,
    params: Params,
    *,
    generator: Generator | None = None,
    extractor: Extractor | None = None,
    on_block: Callable[[BlockCount], None] | None = None,
) -> ProductionResult:
    """Return what came of every stratum. Stopped at any moment, the next call goes on from the blocks that are whole.

    Raises:
        UserError: what is asked cannot be made; see `plan_production`.
    """
    calibrate_gates(workspace, params, extractor)
    plan = plan_production(workspace, params, generator)
    schedule = Schedule(workspace, plan)
    while blocks := schedule.missing():
        for block in blocks:
            count = produce_block(workspace, params, plan, block, generator=generator, extractor=extractor)
            if on_block:
                on_block(count)
    return settle_production(workspace, params, plan, schedule)
