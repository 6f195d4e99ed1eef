"""produce: exactly the quotas, block by block. Killed at any moment, the next run goes on from the ledger."""

from __future__ import annotations

import sys
from typing import Any

from prefect import flow, unmapped

from flows.entry import main, opened, publish
from pipelines.produce.schedule import Schedule
from tasks.produce import block, calibrate, plan, settle, upcoming


@flow(name="produce", persist_result=False)
def produce() -> dict[str, Any]:
    """Return quota, accepted, attempts and shortfall of every stratum."""
    workspace, params = opened()
    calibrate(workspace, params)
    planned = plan(workspace, params)
    schedule = Schedule(workspace, planned)
    while blocks := upcoming(schedule):
        block.map(unmapped(workspace), unmapped(params), unmapped(planned), blocks).result()
    result = settle(workspace, params, planned, schedule)
    short = f", {result.shortfall} short" if result.shortfall else ""
    warned = f"; {len(result.warnings)} warnings" if result.warnings else ""
    headline = f"{result.accepted} of {result.quota} images made in {result.attempts} attempts{short}{warned}"
    for line in result.warnings:
        print(f"produce: warning: {line}", file=sys.stderr, flush=True)
    return publish(workspace, "produce", headline, result)


if __name__ == "__main__":
    main(produce, width=lambda params: params.produce.workers)
