"""What a production would make and cost, with intervals, from what earlier ones took here. Nothing is run or written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipelines.produce.models import candidate_names
from pipelines.produce.pace import Pace, pace_of
from pipelines.produce.plan import StratumPlan, fillable_strata
from pipelines.produce.rates import cores as cores_here
from pipelines.produce.rates import read_timings
from pipelines.produce.result import ProductionResult, load_result
from pipelines.produce.simulate import Job, Run, posterior, simulate
from pipelines.stratify.shares import largest_remainder
from schemas.errors import UserError, WorkspaceError
from schemas.params import Params
from schemas.paths import Workspace
from schemas.strata import QuotaRow
from schemas.table import read_rows
from schemas.words import stratum_name

COVERED = (0.05, 0.5, 0.95)
"""Quantiles of an interval: 90% of the simulated productions lie inside."""


class Interval(BaseModel):
    """A number that is not known exactly: 90% of the simulated productions lie from low to high."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    low: float
    expected: float = Field(description="the median")
    high: float


class StratumEstimate(BaseModel):
    """One stratum of `equiderm plan`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stratum: str
    support: str
    quota: int
    attempt_limit: int
    acceptance: Interval | None = Field(description="share of attempts kept, 0-1; null if nothing was made here yet")
    images: Interval | None = Field(description="accepted within the attempt limit; null if unknown")
    attempts: Interval | None
    hours: Interval | None = Field(description="of one worker; null without a measured block")
    bytes: Interval | None = Field(description="blocks, ledger and shards")


class Infeasible(BaseModel):
    """A stratum that cannot get all it needs, known before anything runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stratum: str
    missing: int = Field(description="images it needs and will not get")
    reason: str


class ProductionEstimate(BaseModel):
    """Quotas, cost and time. What has not been measured here is null."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    generator: str
    workers: int
    cores: int
    device: str | None = Field(description="that blocks were measured on")
    basis: str = Field(description="what the intervals were measured on")
    quota: int
    attempt_limit: int
    images: Interval | None
    attempts: Interval | None
    hours: Interval | None = Field(description="by the clock, start and settling included")
    gpu_hours: Interval | None = Field(description="null where the measured device is a CPU")
    bytes: Interval | None
    strata: list[StratumEstimate]
    infeasible: list[Infeasible]


class WhatIf(BaseModel):
    """What is other than in params.yaml; None: as there."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    images: int | None = None
    workers: int | None = None
    cores: int | None = None
    processes: int = 1


def estimate_production(workspace: Workspace, params: Params, what_if: WhatIf = WhatIf()) -> ProductionEstimate:
    """Return what `produce` would make and what it would take; a trained checkpoint is not needed.

    With `what_if.images` the quotas are shared out anew in their own proportions, and caps are left aside.

    Raises:
        UserError: stratify has not run, or `what_if.images` is asked of no quota at all.
    """
    plans, unfillable = fillable_strata(workspace, params)
    plans = _resized(plans, what_if.images, params)
    last, generators = _last(workspace), candidate_names(params)
    workers, cores = what_if.workers or params.produce.workers, what_if.cores or cores_here()
    pace = pace_of(read_timings(workspace), generators, workers, cores)
    jobs = _jobs(plans, last)
    runs = (
        simulate(
            jobs, pace, workers=workers, block=params.produce.block, confidence=params.produce.confidence,
            processes=what_if.processes,
        )
        if jobs and last is not None
        else []
    )  # fmt: skip
    hours = [run.seconds / 3600 for run in runs if run.seconds is not None]
    worked = [run.worker_seconds / 3600 for run in runs if run.worker_seconds is not None]
    tried = [int(run.attempts.sum()) for run in runs]
    gpu = pace is not None and not pace.device.startswith("cpu")
    return ProductionEstimate(
        generator=", ".join(generators),
        workers=workers,
        cores=cores,
        device=pace.device if pace else None,
        basis=_basis(pace, last),
        quota=sum(job.quota for job in jobs),
        attempt_limit=sum(job.limit for job in jobs),
        images=_interval([int(run.made.sum()) for run in runs]),
        attempts=_interval(tried),
        hours=_interval(hours),
        gpu_hours=_interval(worked) if gpu else None,
        bytes=_interval([_bytes(pace, n) for n in tried]) if pace else None,
        strata=_strata(plans, jobs, runs, pace),
        infeasible=[
            *_short_quotas(workspace),
            *(Infeasible(stratum=n, missing=q, reason=f"{n}: quota {q}{why}") for n, q, why in unfillable),
        ],
    )


def _resized(plans: Sequence[StratumPlan], images: int | None, params: Params) -> list[StratumPlan]:
    if images is None:
        return list(plans)
    if not plans:
        raise UserError(f"--images {images}: no stratum has a quota to share them out by; set stratify.quotas first")
    per_image = params.produce.max_attempts_per_image
    quotas = largest_remainder([plan.quota for plan in plans], images)
    return [
        plan.model_copy(update={"quota": quota, "attempts": int(np.ceil(quota * per_image))})
        for plan, quota in zip(plans, quotas, strict=True)
        if quota
    ]


def _last(workspace: Workspace) -> ProductionResult | None:
    try:
        found = load_result(workspace.production)
    except WorkspaceError:
        return None
    return found if found.attempts else None


def _jobs(plans: Sequence[StratumPlan], last: ProductionResult | None) -> list[Job]:
    seen = {one.stratum: one for one in last.strata} if last else {}
    jobs = []
    for plan in plans:
        before = seen.get(plan.name)
        accepted, attempts = (before.accepted + before.surplus, before.attempts) if before else (0, 0)
        jobs.append(Job(quota=plan.quota, limit=plan.attempts, accepted=accepted, attempts=attempts))
    return jobs


def _strata(
    plans: Sequence[StratumPlan], jobs: Sequence[Job], runs: Sequence[Run], pace: Pace | None
) -> list[StratumEstimate]:
    rates = posterior(jobs, np.random.default_rng(0), 2000) if runs else None
    each = pace.seconds * np.sqrt(np.prod(pace.sharing)) if pace else np.empty(0)
    found = []
    for i, plan in enumerate(plans):
        tried = [int(run.attempts[i]) for run in runs]
        hours = [n * float(each[k % len(each)]) / 3600 for k, n in enumerate(tried)] if pace else []
        found.append(
            StratumEstimate(
                stratum=plan.name,
                support=plan.support.value,
                quota=plan.quota,
                attempt_limit=plan.attempts,
                acceptance=_interval(rates[:, i]) if rates is not None else None,
                images=_interval([int(run.made[i]) for run in runs]),
                attempts=_interval(tried),
                hours=_interval(hours),
                bytes=_interval([_bytes(pace, n) for n in tried]) if pace else None,
            )
        )
    return found


def _interval(values: Sequence[float] | NDArray[np.float64]) -> Interval | None:
    if not len(values):
        return None
    low, expected, high = np.quantile(np.asarray(values, float), COVERED)
    return Interval(low=float(low), expected=float(expected), high=float(high))


def _bytes(pace: Pace, attempts: int) -> float:
    return attempts * (float(np.mean(pace.bytes)) + pace.settled_bytes)


def _basis(pace: Pace | None, last: ProductionResult | None) -> str:
    if last is None:
        return "nothing was produced here yet: attempts, time and storage are not known; produce a few images first"
    known = f"acceptance of {last.attempts} attempts"
    if pace is None:
        return f"{known}; no block was timed on this machine: time and storage are not known"
    scaled = f", made by {pace.scaled_from} at once and scaled" if pace.scaled_from else ""
    return f"{known}; {len(pace.seconds)} blocks timed on this machine{scaled}"


def _short_quotas(workspace: Workspace) -> list[Infeasible]:
    rows = read_rows(workspace.quotas, QuotaRow)
    return [
        Infeasible(
            stratum=stratum_name(row.modality.value, row.fst, row.lesion.value),
            missing=row.need - row.quota,
            reason=row.reason,
        )
        for row in rows
        if row.reason is not None
    ]
