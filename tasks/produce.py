"""Gates calibrated once, then blocks of attempts until every quota is filled or out of attempts."""

from __future__ import annotations

from pipelines.produce.blocks import BlockCount, BlockPlan, produce_block
from pipelines.produce.calibrate import calibrate_gates
from pipelines.produce.calibration import Calibration
from pipelines.produce.pilot import decide, pilot_blocks, pilot_plans
from pipelines.produce.plan import ProductionPlan, plan_production
from pipelines.produce.result import ProductionResult
from pipelines.produce.schedule import Schedule
from pipelines.produce.settle import settle_production
from schemas.params import Params
from schemas.paths import Workspace
from schemas.pilot import PilotRow
from tasks.unit import unit


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
def block(workspace: Workspace, params: Params, planned: ProductionPlan, one: BlockPlan) -> BlockCount:
    """Return the counts of one block once its attempts are in the ledger."""
    return produce_block(workspace, params, planned, one)


@unit(name="settle-production")
def settle(workspace: Workspace, params: Params, planned: ProductionPlan, schedule: Schedule) -> ProductionResult:
    """Return quota, accepted, attempts and shortfall of every stratum."""
    return settle_production(workspace, params, planned, schedule)
