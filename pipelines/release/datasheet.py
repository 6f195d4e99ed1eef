"""datasheet.md: the questions of Gebru et al. (Datasheets for Datasets, CACM 64(12), 2021), from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.release import tally
from pipelines.release.inputs import Inputs
from pipelines.release.report import environment, provenance
from schemas.ledger import GATE_ASKS, GATES
from schemas.release import BalanceRow, ReleaseFacts
from schemas.words import Modality, stratum_name


def render_datasheet(inputs: Inputs, facts: ReleaseFacts, strata: Sequence[BalanceRow]) -> str:
    """Return datasheet.md; every number in it is counted from the release's tables."""
    context: dict[str, Any] = {
        "facts": facts,
        "counts": facts.counts,
        "phantoms": Modality.PHANTOM in facts.modalities,
        "only_phantoms": facts.modalities == [Modality.PHANTOM],
        "strata": [(stratum_name(r.modality, r.fst, r.lesion), r) for r in strata],
        "wanted": [(stratum_name(r.modality, r.fst, r.lesion), r) for r in strata if r.missing],
        "people": inputs.rows(_PEOPLE)[0],
        "fst_sources": inputs.rows(_FST),
        "quarantine": tally.quarantine_counts(inputs),
        "outcomes": tally.gate_outcomes(inputs),
        "reasons": GATES,
        "asks": GATE_ASKS,
        "gates": inputs.params.produce.gates,
        "resolution": inputs.params.ingest.resolution,
        "split": inputs.params.stratify.split,
        "metrics": inputs.metrics,
        **provenance(inputs),
    }
    return environment().get_template("datasheet.md.j2").render(**context)


_PEOPLE = """
SELECT count(*) AS images, count(patient_id) AS named, count(DISTINCT patient_id) AS patients,
       count(DISTINCT lesion_id) AS lesions, count(*) FILTER (fst IS NULL) AS without_fst,
       count(*) FILTER (ita_deg IS NULL) AS without_ita, count(*) FILTER (mask) AS with_mask
FROM catalog
"""

_FST = """
SELECT source, coalesce(fst_source, 'none') AS said_by, count(*) AS images
FROM catalog GROUP BY ALL ORDER BY source, said_by
"""
