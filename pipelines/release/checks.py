"""Checks that the inputs agree with each other before anything is written: counts, quotas, pixels, ids."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.release.inputs import Inputs
from schemas.errors import CheckFailed
from schemas.release import BalanceRow
from schemas.words import stratum_name

SHOWN = 5
"""Findings named in one message; the rest are counted."""

_STRATA = """
WITH made AS (
    SELECT a.modality, a.fst, a.lesion, count(DISTINCT a.image_id) AS accepted, count(p.image_id) AS pixels
    FROM ledger a
    LEFT JOIN (SELECT image_id FROM pixels WHERE origin = 'SyntheticRow') p USING (image_id)
    WHERE a.accepted
    GROUP BY ALL
)
SELECT m.*, coalesce(q.quota, 0) AS quota
FROM made m
LEFT JOIN quotas q ON q.modality = m.modality AND q.lesion = m.lesion AND q.fst IS NOT DISTINCT FROM m.fst
ORDER BY m.modality, m.fst NULLS LAST, m.lesion
"""


def check_inputs(inputs: Inputs) -> None:
    """Return nothing if the inputs agree.

    Raises:
        CheckFailed: an accepted image without exactly one picture, a picture nobody accepted, more synthetic images
            than a quota, a catalog row without exactly one picture or without a split, or an id used twice.
    """
    findings = [*_accepted(inputs), *_unaccepted(inputs), *_catalog(inputs), *_twice(inputs)]
    if findings:
        more = f"; and {len(findings) - SHOWN} more" if len(findings) > SHOWN else ""
        raise CheckFailed("; ".join(findings[:SHOWN]) + more)


def _accepted(inputs: Inputs) -> list[str]:
    findings = []
    for row in inputs.rows(_STRATA):
        name = stratum_name(row["modality"], row["fst"], row["lesion"])
        if row["accepted"] != row["pixels"]:
            findings.append(
                f"stratum {name}: the ledger accepted {row['accepted']} images, production/shards hold "
                f"{row['pixels']} of them; they need to be equal; run `equiderm produce` again"
            )
        if row["accepted"] > row["quota"]:
            findings.append(
                f"stratum {name}: {row['accepted']} synthetic images, its quota is {row['quota']}; a release holds no "
                "more than the quota; run `equiderm produce` again"
            )
    return findings


def _unaccepted(inputs: Inputs) -> list[str]:
    rows = inputs.rows(
        "SELECT image_id FROM pixels WHERE origin = 'SyntheticRow' "
        "AND image_id NOT IN (SELECT image_id FROM ledger WHERE accepted) ORDER BY image_id"
    )
    if not rows:
        return []
    return [
        f"production/shards: {len(rows)} images that the ledger did not accept, the first is {rows[0]['image_id']}; "
        "only accepted images enter a release; run `equiderm produce` again"
    ]


def _catalog(inputs: Inputs) -> list[str]:
    findings = []
    unsplit = inputs.count("SELECT count(*) AS n FROM catalog WHERE split IS NULL")
    if unsplit:
        findings.append(f"catalog: {unsplit} rows without a split; every row needs one; run `equiderm stratify` again")
    rows = inputs.rows(
        "SELECT c.image_id, count(p.image_id) AS n FROM catalog c "
        "LEFT JOIN (SELECT image_id FROM pixels WHERE origin = 'PixelRow') p USING (image_id) "
        "GROUP BY ALL HAVING n <> 1 ORDER BY c.image_id"
    )
    if rows:
        findings.append(
            f"catalog: {len(rows)} rows without exactly one picture in data/images, the first is {rows[0]['image_id']} "
            f"with {rows[0]['n']}; run `equiderm ingest` again"
        )
    return findings


def _twice(inputs: Inputs) -> list[str]:
    rows = inputs.rows("SELECT image_id FROM released GROUP BY ALL HAVING count(*) > 1 ORDER BY image_id")
    return [
        f"image {row['image_id']}: in the release twice; an id names one image; run `equiderm produce` again"
        for row in rows
    ]


def check_metrics(inputs: Inputs, strata: Sequence[BalanceRow]) -> None:
    """Return nothing if evaluation/metrics.json was measured on these very images.

    Raises:
        CheckFailed: it counts other images in a stratum.
    """
    made = {(row.modality, row.fst, row.lesion): row.n_synthetic for row in strata}
    for row in inputs.metrics.counts:
        found = made.get((row.modality, row.fst, row.lesion), 0)
        if row.accepted != found:
            name = stratum_name(row.modality, row.fst, row.lesion)
            raise CheckFailed(
                f"evaluation/metrics.json: stratum {name}: measured on {row.accepted} accepted images, the ledger "
                f"has {found}; metrics need to be of these images; run `equiderm evaluate` again"
            )
