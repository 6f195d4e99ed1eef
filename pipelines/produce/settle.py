"""The end of a production: blocks become a ledger and shards, one file a stratum, and leftovers of other runs go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from pipelines.produce.attempts import block_path
from pipelines.produce.gates import ORDER, SURPLUS
from pipelines.produce.plan import ProductionPlan, StratumPlan
from pipelines.produce.result import ProductionResult, StratumResult
from pipelines.produce.schedule import replay
from pipelines.produce.selection import Decision
from schemas.errors import CheckFailed
from schemas.ledger import AttemptRow, SyntheticRow
from schemas.params import Params
from schemas.paths import Workspace
from schemas.table import write_rows, write_text


def settle_production(workspace: Workspace, params: Params, plan: ProductionPlan) -> ProductionResult:
    """Return what came of every stratum, after the ledger and the shards are written.

    Raises:
        CheckFailed: a scheduled block has not been made.
    """
    schedule = replay(workspace, plan)
    if schedule.missing:
        raise CheckFailed(
            f"production: {len(schedule.missing)} scheduled blocks are not made, first {schedule.missing[0].key}; "
            "settling needs them all; run `equiderm produce` again"
        )
    for stratum in plan.strata:
        _write_stratum(workspace, plan, stratum, schedule.decisions[stratum.name])
    result = _result(workspace, params, plan, schedule.decisions)
    write_text(result.model_dump_json(indent=2) + "\n", workspace.production / "result.json")
    planned = {stratum.file for stratum in plan.strata}
    _remove_others(workspace.ledger, planned)
    _remove_others(workspace.shards, planned)
    _remove_others(workspace.blocks, {block_path(workspace, block).name for block in schedule.done})
    return result


def _write_stratum(
    workspace: Workspace, plan: ProductionPlan, stratum: StratumPlan, decisions: Sequence[Decision]
) -> None:
    """Write one stratum's pixels, then its ledger: a ledger never names an image that is not there."""
    images = [
        SyntheticRow(image_id=d.row.image_id, image=d.row.image)
        for d in decisions
        if d.accepted and d.row.image is not None
    ]
    write_rows(images, SyntheticRow, workspace.shards / stratum.file)
    sampler = plan.sampler_json(stratum)
    rows = [_attempt(plan, stratum, sampler, decision) for decision in decisions]
    write_rows(rows, AttemptRow, workspace.ledger / stratum.file)


def _attempt(plan: ProductionPlan, stratum: StratumPlan, sampler: str, decision: Decision) -> AttemptRow:
    judged = decision.row.model_dump(exclude={"thumb", "image", "seal"})
    return AttemptRow(
        **judged,
        modality=stratum.modality,
        fst=stratum.fst,
        lesion=stratum.lesion,
        generator=plan.generator,
        checkpoint_sha256=plan.checkpoint_sha256,
        sampler=sampler,
        duplicate_passed=decision.duplicate.keep,
        duplicate_score=decision.duplicate.score,
        accepted=decision.accepted,
        reason=decision.reason,
    )


def _result(
    workspace: Workspace, params: Params, plan: ProductionPlan, decisions: dict[str, list[Decision]]
) -> ProductionResult:
    strata = [_stratum_result(stratum, decisions[stratum.name]) for stratum in plan.strata]
    rejected: Counter[str] = Counter()
    for one in strata:
        rejected.update(one.rejected)
    return ProductionResult(
        generator=plan.generator,
        generator_start=_start(workspace, params),
        checkpoint_sha256=plan.checkpoint_sha256,
        calibration=plan.calibration.digest,
        quota=sum(one.quota for one in strata),
        accepted=sum(one.accepted for one in strata),
        attempts=sum(one.attempts for one in strata),
        shortfall=sum(one.shortfall for one in strata),
        rejected={gate: rejected[gate] for gate in ORDER if rejected[gate]},
        strata=strata,
    )


def _stratum_result(stratum: StratumPlan, decisions: Sequence[Decision]) -> StratumResult:
    reasons = Counter(d.reason for d in decisions)
    accepted = reasons[None]
    return StratumResult(
        stratum=stratum.name,
        modality=stratum.modality,
        fst=stratum.fst,
        lesion=stratum.lesion,
        support=stratum.support,
        quota=stratum.quota,
        accepted=accepted,
        attempts=len(decisions),
        attempt_limit=stratum.attempts,
        shortfall=stratum.quota - accepted,
        surplus=reasons[SURPLUS],
        rejected={gate: reasons[gate] for gate in ORDER if reasons[gate]},
    )


def _start(workspace: Workspace, params: Params) -> str | None:
    """Return what the checkpoint was trained from, as its config says."""
    import json

    try:
        text = (workspace.model(params.produce.generator) / "config.json").read_text(encoding="utf-8")
        start = json.loads(text).get("start")
    except (OSError, ValueError):
        return None
    return str(start) if start else None


def _remove_others(folder: Path, keep: Collection[str]) -> None:
    """Delete files of strata or checkpoints that are no longer planned, and partial files of killed runs."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_file() and path.name not in keep:
                path.unlink()
