"""produce: exactly the quotas, block by block. Killed at any moment, the next run goes on from the ledger."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from prefect import flow, unmapped
from prefect.futures import as_completed

from flows.engine import gpu_limit, worker_faults
from flows.entry import main, opened, publish, seconds_running
from pipelines.produce.blocks import BlockCount, BlockPlan, timed_round
from pipelines.produce.plan import ProductionPlan
from pipelines.produce.rates import record
from pipelines.produce.schedule import Schedule
from pipelines.produce.terms import terms_of
from schemas.params import Params
from schemas.paths import Workspace
from schemas.timing import Timing
from tasks.live import ProductionView
from tasks.produce import Contract, block, calibrate, choose, pilot, plan, settle, this_process, upcoming

SUBMITTED = 16
"""Blocks a worker that are handed to the engine at a time, so that its queue stays short however long the round is."""


@flow(name="produce", persist_result=False)
def produce() -> dict[str, Any]:
    """Return quota, accepted, attempts and shortfall of every stratum."""
    workspace, params = opened()
    calibrate(workspace, params)
    if trials := pilot(workspace, params):
        for trial, blocks in trials:
            _make(workspace, params, trial, blocks, None)
        choose(workspace, params, [trial for trial, _ in trials])
    planned = plan(workspace, params)
    schedule = Schedule(workspace, planned)
    if not trials:  # a pilot is no part of every start
        record(workspace, Timing(what="start", seconds=seconds_running()))
    view = ProductionView(workspace, planned)
    try:
        while blocks := upcoming(schedule):
            view.begin_round(schedule)
            _make(workspace, params, planned, blocks, view)
        view.begin_round(schedule)
    finally:
        view.close()
    result = settle(workspace, params, planned, schedule)
    short = f", {result.shortfall} short" if result.shortfall else ""
    warned = f"; {len(result.warnings)} warnings" if result.warnings else ""
    headline = f"{result.accepted} of {result.quota} images made in {result.attempts} attempts{short}{warned}"
    for line in result.warnings:
        print(f"produce: warning: {line}", file=sys.stderr, flush=True)
    return publish(workspace, "produce", headline, result)


def _make(
    workspace: Workspace,
    params: Params,
    planned: ProductionPlan,
    blocks: list[BlockPlan],
    show: Callable[[BlockCount], None] | None,
) -> None:
    contract = Contract(terms=terms_of(params, planned), flow=this_process(), gpu_limit=gpu_limit())
    every = [unmapped(one) for one in (workspace, params, planned, contract)]
    size = SUBMITTED * params.produce.workers

    def counts() -> Iterator[BlockCount]:
        for start in range(0, len(blocks), size):
            with worker_faults():
                for done in as_completed(block.map(*every, blocks[start : start + size])):
                    count = done.result()
                    if show:
                        show(count)
                    yield count

    timed_round(workspace, params, counts)


if __name__ == "__main__":
    main(produce, width=lambda params: params.produce.workers, anywhere=True)
