"""One shard of source rows at a time, then the shards together."""

from __future__ import annotations

from pipelines.ingest.crew import Crew, ingest_with
from pipelines.ingest.plan import ShardPlan, plan_shards
from pipelines.ingest.settle import IngestResult, settle_catalog
from pipelines.ingest.shard import ShardCount
from schemas.params import Params
from schemas.paths import Workspace
from tasks.unit import unit


@unit(name="plan-shards")
def plan(workspace: Workspace, params: Params) -> list[ShardPlan]:
    """Return the shards to be read."""
    return plan_shards(workspace, params)


@unit(name="shard")
def shard(hired: Crew | None, workspace: Workspace, params: Params, planned: ShardPlan) -> ShardCount:
    """Return the counts of one shard once its files are in place."""
    return ingest_with(hired, workspace, params, planned)


@unit(name="settle-catalog")
def settle(workspace: Workspace, params: Params) -> IngestResult:
    """Return the counts of the finished catalog and quarantine."""
    return settle_catalog(workspace, params)
