"""What was asked and what came, recounted from the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.ledger import AttemptRow
from schemas.metrics import CountRow
from schemas.strata import QuotaRow, StratumRow


def count_strata(
    strata: Sequence[StratumRow], quotas: Sequence[QuotaRow], ledger: Sequence[AttemptRow]
) -> list[CountRow]:
    """Return one row a stratum, in the order of `strata`."""
    asked = {(q.modality, q.fst, q.lesion): q.quota for q in quotas}
    rows = []
    for stratum in strata:
        cell = (stratum.modality, stratum.fst, stratum.lesion)
        mine = [a for a in ledger if (a.modality, a.fst, a.lesion) == cell]
        accepted = sum(a.accepted for a in mine)
        quota = asked.get(cell, 0)
        rows.append(
            CountRow(
                modality=stratum.modality,
                fst=stratum.fst,
                lesion=stratum.lesion,
                real_train=stratum.n_train,
                quota=quota,
                accepted=accepted,
                shortfall=max(0, quota - accepted),
                attempts=len(mine),
            )
        )
    return rows
