"""The ledger counted, however long it is: DuckDB over its four short columns, nothing else read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from pipelines.tables.query import connect, statement
from schemas.paths import Workspace
from schemas.words import stratum_name

SQL: Final = Path(__file__).parent


class StratumCount(BaseModel):
    """One stratum's attempts in the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stratum: str
    attempts: int
    accepted: int
    rejected: dict[str, int] = Field(description="by the first gate that refused; `surplus` passed them all too late")


class LedgerCounts(BaseModel):
    """The whole ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    attempts: int
    accepted: int
    rejected: dict[str, int]
    strata: list[StratumCount]


def count_ledger(workspace: Workspace) -> LedgerCounts | None:
    """Return what became of every attempt, by stratum and reason; None before the first settled production."""
    files = sorted(str(p) for p in workspace.ledger.glob("*.parquet") if not p.name.startswith("."))
    if not files:
        return None
    with connect(workspace) as con:
        rows = con.execute(statement(SQL, "counts"), {"ledger": files}).fetchall()
    strata: dict[str, dict[str | None, int]] = {}
    total: dict[str | None, int] = {}
    for modality, fst, lesion, reason, attempts in rows:
        strata.setdefault(stratum_name(modality, fst, lesion), {})[reason] = attempts
        total[reason] = total.get(reason, 0) + attempts
    return LedgerCounts(
        attempts=sum(total.values()),
        accepted=total.get(None, 0),
        rejected=_refused(total),
        strata=[
            StratumCount(
                stratum=name, attempts=sum(found.values()), accepted=found.get(None, 0), rejected=_refused(found)
            )
            for name, found in strata.items()
        ],
    )


def _refused(found: dict[str | None, int]) -> dict[str, int]:
    return {reason: count for reason, count in found.items() if reason is not None}
