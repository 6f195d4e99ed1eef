"""What a production would cost, from what earlier ones took. Nothing is run, loaded or written."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipelines.produce.plan import StratumPlan, plan_strata
from pipelines.produce.rates import read_rate
from pipelines.produce.result import ProductionResult, load_result
from schemas.errors import WorkspaceError
from schemas.params import Params
from schemas.paths import Workspace


class StratumEstimate(BaseModel):
    """One stratum of `equiderm plan`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stratum: str
    support: str
    quota: int
    attempt_limit: int
    acceptance: float | None = Field(description="share of attempts kept last time, 0-1; null if unknown")
    attempts: int | None = Field(description="expected; null if unknown")


class ProductionEstimate(BaseModel):
    """Quotas, cost and time. What has not been measured here is null."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    generator: str
    images: int
    attempt_limit: int
    attempts: int | None = Field(description="expected; null while a stratum's acceptance is unknown")
    seconds: float | None = Field(
        description="expected, one worker; null if attempts or this machine's rate are unknown"
    )
    bytes: int | None = Field(description="expected on disk; null if unknown")
    strata: list[StratumEstimate]


def estimate_production(workspace: Workspace, params: Params) -> ProductionEstimate:
    """Return what `produce` would make and what it would take; a trained checkpoint is not needed.

    Raises:
        UserError: stratify has not run, or a quota cannot be filled.
    """
    try:
        last: ProductionResult | None = load_result(workspace.production)
    except WorkspaceError:
        last = None
    strata = [_estimate(plan, last) for plan in plan_strata(workspace, params)]
    known = [one.attempts for one in strata if one.attempts is not None]
    attempts = sum(known) if len(known) == len(strata) else None
    rate = read_rate(workspace, params.produce.generator)
    return ProductionEstimate(
        generator=params.produce.generator,
        images=sum(one.quota for one in strata),
        attempt_limit=sum(one.attempt_limit for one in strata),
        attempts=attempts,
        seconds=attempts * rate.seconds_per_attempt if attempts is not None and rate else None,
        bytes=round(attempts * rate.bytes_per_attempt) if attempts is not None and rate else None,
        strata=strata,
    )


def _estimate(plan: StratumPlan, last: ProductionResult | None) -> StratumEstimate:
    acceptance = _acceptance(plan, last)
    expected = None
    if acceptance is not None:
        expected = plan.attempts if acceptance == 0 else min(plan.attempts, round(plan.quota / acceptance))
    return StratumEstimate(
        stratum=plan.name,
        support=plan.support.value,
        quota=plan.quota,
        attempt_limit=plan.attempts,
        acceptance=acceptance,
        attempts=expected,
    )


def _acceptance(plan: StratumPlan, last: ProductionResult | None) -> float | None:
    """Return the stratum's share of attempts that passed last time; that of all strata if this one was not made."""
    if last is None:
        return None
    for one in last.strata:
        if one.stratum == plan.name and one.attempts:
            return (one.accepted + one.surplus) / one.attempts
    return last.accepted / last.attempts if last.attempts else None
