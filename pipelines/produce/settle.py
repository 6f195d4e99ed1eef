"""The end of a production: blocks become a ledger and shards, one file a stratum, and leftovers of other runs go."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from pipelines.probes.skin_type_trust import abstentions
from pipelines.produce.attempts import BlockRow, block_path, lost_block, read_block
from pipelines.produce.gates import GATES, SURPLUS
from pipelines.produce.plan import ProductionPlan, StratumPlan
from pipelines.produce.rates import timed
from pipelines.produce.rejection_rates import RejectionTally, unequal_rejections
from pipelines.produce.rejections import SHEET, Rejections, write_rejection_sheet
from pipelines.produce.result import ProductionResult, StratumResult
from pipelines.produce.schedule import Schedule
from pipelines.produce.selection import Decision
from pipelines.produce.sheets import sheet_path, write_sheets
from schemas.errors import CheckFailed
from schemas.ledger import AttemptRow, Judged, SyntheticRow
from schemas.params import Params
from schemas.paths import Workspace
from schemas.table import row_writer, write_text

SHARD_GROUP: Final = 128
LEDGER_GROUP: Final = 2048
"""Rows a row group: what is in memory at once, whatever the number of images."""


def settle_production(
    workspace: Workspace,
    params: Params,  # noqa: ARG001 (as every other step of a production)
    plan: ProductionPlan,
    schedule: Schedule | None = None,
) -> ProductionResult:
    """Return what came of every stratum, after the ledger and the shards are written.

    Args:
        schedule: the one that led through the production; without it the blocks are read once more.

    Raises:
        CheckFailed: a scheduled block has not been made, or was damaged since.
    """
    with timed(workspace, "settle") as measured:
        result = _settle(workspace, plan, schedule or Schedule(workspace, plan))
        measured.attempts = result.attempts
        files = [workspace.ledger / stratum.file for stratum in plan.strata]
        files += [workspace.shards / stratum.file for stratum in plan.strata]
        measured.bytes = sum(file.stat().st_size for file in files)
    return result


def _settle(workspace: Workspace, plan: ProductionPlan, schedule: Schedule) -> ProductionResult:
    if missing := schedule.missing():
        raise CheckFailed(
            f"production: {len(missing)} scheduled blocks are not made, first {missing[0].key}; "
            "settling needs them all; run `equiderm produce` again"
        )
    tally = RejectionTally()
    for stratum in plan.strata:
        _write_stratum(workspace, plan, stratum, schedule, tally)
    write_rejection_sheet(workspace, plan)
    result = _result(workspace, plan, schedule, tally)
    write_text(result.model_dump_json(indent=2) + "\n", workspace.production / "result.json")
    write_sheets(workspace, plan)
    planned = {stratum.file for stratum in plan.strata}
    _remove_others(workspace.sheets, {sheet_path(workspace, stratum).name for stratum in plan.strata})
    if len(plan.models) == 1:
        workspace.pilot.unlink(missing_ok=True)  # of an earlier run, with more generators
    _remove_others(workspace.ledger, planned)
    _remove_others(workspace.shards, planned)
    _remove_others(workspace.rejected, {*planned, SHEET})
    done = (block for stratum in plan.strata for block in schedule.blocks(stratum))
    _remove_others(workspace.blocks, {block_path(workspace, block).name for block in done})
    return result


def _write_stratum(
    workspace: Workspace, plan: ProductionPlan, stratum: StratumPlan, schedule: Schedule, tally: RejectionTally
) -> None:
    """Write one stratum's pixels and ledger, a block in memory at a time, and some of what was refused.

    The pixels get their name first: a ledger never names an image that is not there.
    """
    sampler = plan.sampler_json(stratum)
    decisions = schedule.decisions(stratum)
    rejections = Rejections(stratum, plan.gates.rejected_kept)
    with (
        row_writer(AttemptRow, workspace.ledger / stratum.file, LEDGER_GROUP) as write_attempt,
        row_writer(SyntheticRow, workspace.shards / stratum.file, SHARD_GROUP) as write_image,
    ):
        for block in schedule.blocks(stratum):
            rows = read_block(workspace, plan, block)
            if rows is None:
                raise lost_block(block_path(workspace, block))
            for row, decision in zip(rows, decisions, strict=False):  # one iterator over all blocks
                if decision.accepted and row.image is not None:
                    write_image(SyntheticRow(image_id=row.image_id, image=row.image))
                attempt = _attempt(plan, stratum, sampler, row, decision)
                write_attempt(attempt)
                tally.add(attempt)
                rejections.add(row, attempt)
    rejections.write(workspace)


def _attempt(plan: ProductionPlan, stratum: StratumPlan, sampler: str, row: BlockRow, decision: Decision) -> AttemptRow:
    return AttemptRow(
        **row.model_dump(include=set(Judged.model_fields)),
        modality=stratum.modality,
        fst=stratum.fst,
        lesion=stratum.lesion,
        generator=stratum.generator,
        checkpoint_sha256=plan.model_of(stratum).checkpoint_sha256,
        choice=stratum.choice,
        sampler=sampler,
        duplicate_passed=decision.duplicate_passed,
        duplicate_score=decision.duplicate_score,
        accepted=decision.accepted,
        reason=decision.reason,
    )


def _result(workspace: Workspace, plan: ProductionPlan, schedule: Schedule, tally: RejectionTally) -> ProductionResult:
    strata = [_stratum_result(stratum, schedule.decisions(stratum)) for stratum in plan.strata]
    rejected: Counter[str] = Counter()
    for one in strata:
        rejected.update(one.rejected)
    used = [name for name in plan.models if any(stratum.generator == name for stratum in plan.strata)]
    return ProductionResult(
        generator=", ".join(used),
        generator_start=_start(workspace, used),
        checkpoints={name: plan.models[name].checkpoint_sha256 for name in used},
        calibration=plan.calibration.digest,
        quota=sum(one.quota for one in strata),
        accepted=sum(one.accepted for one in strata),
        attempts=sum(one.attempts for one in strata),
        shortfall=sum(one.shortfall for one in strata),
        rejected={gate: rejected[gate] for gate in GATES if rejected[gate]},
        strata=strata,
        rejection_rates=(rates := tally.rates()),
        warnings=unequal_rejections(rates, plan.gates.max_rejection_ratio),
        abstentions=_abstentions(plan),
    )


def _stratum_result(stratum: StratumPlan, decisions: Iterable[Decision]) -> StratumResult:
    reasons = Counter(d.reason for d in decisions)
    accepted = reasons[None]
    return StratumResult(
        stratum=stratum.name,
        modality=stratum.modality,
        fst=stratum.fst,
        lesion=stratum.lesion,
        support=stratum.support,
        generator=stratum.generator,
        choice=stratum.choice,
        quota=stratum.quota,
        accepted=accepted,
        attempts=reasons.total(),
        attempt_limit=stratum.attempts,
        shortfall=stratum.quota - accepted,
        surplus=reasons[SURPLUS],
        rejected={gate: reasons[gate] for gate in GATES if reasons[gate]},
    )


def _abstentions(plan: ProductionPlan) -> list[str]:
    """Return which gates did not judge whom, and why."""
    said = {m.modality: abstentions(m.tone_probe) for m in plan.calibration.modalities}
    return [f"tone_probe, {modality.value}: {text}" for modality, text in said.items() if text]


def _start(workspace: Workspace, used: Sequence[str]) -> str | None:
    """Return what the checkpoints were trained from, as their configs say; of several, `base` if any was."""
    starts = set()
    for name in used:
        try:
            starts.add(json.loads((workspace.model(name) / "config.json").read_text(encoding="utf-8")).get("start"))
        except (OSError, ValueError):
            continue
    return "base" if "base" in starts else next((str(start) for start in starts if start), None)


def _remove_others(folder: Path, keep: Collection[str]) -> None:
    """Delete files of strata or checkpoints that are no longer planned, and partial files of killed runs."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_file() and path.name not in keep:
                path.unlink()
