"""Gates calibrated once, then blocks of attempts until every quota is filled or out of attempts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.concurrency.sync import concurrency
from pydantic import BaseModel, ConfigDict

from pipelines.produce.blocks import BlockCount, BlockPlan, produce_block
from pipelines.produce.calibrate import calibrate_gates
from pipelines.produce.calibration import Calibration
from pipelines.produce.pilot import decide, pilot_blocks, pilot_plans
from pipelines.produce.plan import ProductionPlan, plan_production
from pipelines.produce.result import ProductionResult
from pipelines.produce.schedule import Schedule
from pipelines.produce.settle import settle_production
from pipelines.produce.terms import Terms, require_terms
from schemas.params import Params
from schemas.paths import Workspace
from schemas.pilot import PilotRow
from tasks.deadline import deadline
from tasks.unit import unit


class Contract(BaseModel):
    """What goes with every block, whoever makes it. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    terms: Terms
    flow: str  # the process that the flow runs in, see `this_process`
    gpu_limit: str | None  # Prefect concurrency limit to hold a slot of


def this_process() -> str:
    """Return what tells this process from every other one, here and on other machines."""
    return f"{socket.gethostname()}:{os.getpid()}"


@unit(name="calibrate-gates")
def calibrate(workspace: Workspace, params: Params) -> Calibration:
    """Return the gates' thresholds, measured on held-out real images."""
    return calibrate_gates(workspace, params)


@unit(name="plan-pilot")
def pilot(workspace: Workspace, params: Params) -> list[tuple[ProductionPlan, list[BlockPlan]]]:
    """Return a plan for each generator that competes, and its blocks still to make; [] where one is named."""
    plans = pilot_plans(workspace, params)
    return list(zip(plans, pilot_blocks(workspace, params, plans), strict=True)) if plans else []


@unit(name="choose-generators")
def choose(workspace: Workspace, params: Params, plans: list[ProductionPlan]) -> list[PilotRow]:
    """Return which generator makes which stratum, and why."""
    return decide(workspace, params, plans)


@unit(name="plan-production")
def plan(workspace: Workspace, params: Params) -> ProductionPlan:
    """Return what is to be made, and with how many attempts at most."""
    return plan_production(workspace, params)


@unit(name="next-blocks")
def upcoming(schedule: Schedule) -> list[BlockPlan]:
    """Return the blocks to make now; none when every stratum is filled or out of attempts."""
    return schedule.missing()


@unit(name="block")
def block(
    workspace: Workspace, params: Params, planned: ProductionPlan, contract: Contract, one: BlockPlan
) -> BlockCount:
    """Return the counts of one block once it is on disk, whole."""
    require_terms(workspace, one.stratum.generator, contract.terms)
    what = f"block {one.key} of {one.stratum.name}"
    elsewhere = contract.flow != this_process()
    with slot(contract.gpu_limit), deadline(params.produce.block_timeout_s, what, process=elsewhere):
        return produce_block(workspace, params, planned, one)


@contextmanager
def slot(limit: str | None) -> Iterator[None]:
    """Hold a slot of a Prefect concurrency limit; one of a worker that was killed is free again after a minute."""
    if limit is None:
        yield
        return
    with concurrency(limit, occupy=1, strict=True, lease_duration=60):
        yield


@unit(name="settle-production")
def settle(workspace: Workspace, params: Params, planned: ProductionPlan, schedule: Schedule) -> ProductionResult:
    """Return quota, accepted, attempts and shortfall of every stratum."""
    return settle_production(workspace, params, planned, schedule)
