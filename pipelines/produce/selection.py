"""Which attempts are accepted: per stratum the first `quota` that pass, in seed order, no two of a release alike.

The rule looks at seed indices and images alone, so batch size, workers and the order of work cannot change the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.produce.attempts import BlockRow, thumbs_of
from pipelines.produce.gates import SURPLUS
from pipelines.produce.gates.duplicate import judge_one, scores_against
from pipelines.produce.gates.verdict import Verdict
from pipelines.produce.plan import ProductionPlan, StratumPlan


@dataclass(frozen=True)
class Decision:
    """What became of one attempt: the duplicate gate's verdict, and the ledger's `reason` (None: accepted)."""

    row: BlockRow
    duplicate: Verdict
    reason: str | None

    @property
    def accepted(self) -> bool:
        """Whether the image enters the release."""
        return self.reason is None


def select(plan: ProductionPlan, attempts: Mapping[str, Sequence[BlockRow]]) -> dict[str, list[Decision]]:
    """Return the decision on every attempt, by stratum name, in plan order and seed order.

    Args:
        attempts: rows in seed order, by stratum name; a stratum may be absent.
    """
    kept: list[NDArray[np.uint8]] = []
    decisions: dict[str, list[Decision]] = {}
    for stratum in plan.strata:
        rows = attempts.get(stratum.name, ())
        if not rows:
            decisions[stratum.name] = []
            continue
        thumbs = thumbs_of(rows)
        before = np.concatenate(kept) if kept else thumbs[:0]
        made = _select_stratum(plan, stratum, rows, thumbs, before)
        decisions[stratum.name] = made
        kept.append(thumbs[[d.accepted for d in made]])
    return decisions


def _select_stratum(
    plan: ProductionPlan,
    stratum: StratumPlan,
    rows: Sequence[BlockRow],
    thumbs: NDArray[np.uint8],
    before: NDArray[np.uint8],
) -> list[Decision]:
    """Return the decisions on one stratum, given the thumbnails accepted in the strata before it."""
    bits = plan.gates.duplicate_bits
    bound = plan.calibration.of(stratum.modality).duplicate_pixels
    others = scores_against(thumbs, before, bits=bits, pixel_bound=bound)
    own = scores_against(thumbs, thumbs, bits=bits, pixel_bound=bound)
    accepted: list[int] = []
    decisions = []
    for i, row in enumerate(rows):
        duplicate = judge_one(np.concatenate([others[i], own[i, accepted]]), bits)
        reason = row.first_failed() or (None if duplicate.keep else "duplicate")
        if reason is None and len(accepted) >= stratum.quota:
            reason = SURPLUS
        if reason is None:
            accepted.append(i)
        decisions.append(Decision(row, duplicate, reason))
    return decisions
