"""Every count that a release states, taken from its inputs with SQL; nothing is typed in by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from pipelines.produce.rejection_rates import ANY, rejection_rate, wilson
from pipelines.produce.result import RejectionRate
from pipelines.release.inputs import Inputs, read_sql
from schemas.ledger import GATES, SURPLUS
from schemas.release import BalanceRow, QuarantineCountRow


@dataclass(frozen=True)
class GateOutcome:
    """What the gates said to every attempt for one Fitzpatrick type."""

    modality: str
    fst: int | None
    attempts: int
    accepted: int
    surplus: int
    rejected: dict[str, int]  # by first failed gate, every gate listed

    @property
    def rejections(self) -> int:
        return sum(self.rejected.values())

    @property
    def rejection_rate(self) -> float | None:
        """Share of attempts that a gate refused, 0-1; none without attempts."""
        return self.rejections / self.attempts if self.attempts else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval of the rejection rate, 0-1."""
        return wilson(self.rejections, self.attempts) if self.attempts else None


def balance(inputs: Inputs) -> list[BalanceRow]:
    """Return every planned stratum before and after, by modality, FST and lesion."""
    rows = []
    for row in inputs.rows(read_sql("balance")):
        worst, count, planned = row.pop("worst"), row.pop("worst_count"), row.pop("reason")
        rows.append(BalanceRow(**row, reason=_reason(row, planned, worst, count)))
    return rows


def _reason(row: dict[str, Any], planned: str | None, worst: str | None, worst_count: int | None) -> str | None:
    parts = [planned] if planned and row["quota"] < row["need"] else []
    if row["shortfall"]:
        made = f"{row['n_synthetic']} of {row['quota']} passed in {row['attempts']} attempts"
        parts.append(f"{made}; most often refused by the {worst} gate ({worst_count})" if worst else made)
    return "; ".join(parts) or None


def gate_outcomes(inputs: Inputs) -> list[GateOutcome]:
    """Return what the gates said, one entry for each modality and FST with attempts."""
    found: dict[tuple[str, int | None], dict[str, int]] = {}
    query = (
        "SELECT modality, fst, CASE WHEN accepted THEN 'accepted' ELSE coalesce(reason, 'unknown') END AS outcome, "
        "count(*) AS n FROM ledger GROUP BY ALL ORDER BY modality, fst NULLS LAST, outcome"
    )
    for row in inputs.rows(query):
        found.setdefault((row["modality"], row["fst"]), {})[row["outcome"]] = row["n"]
    outcomes = []
    for (modality, fst), counts in found.items():
        accepted, surplus = counts.pop("accepted", 0), counts.pop(SURPLUS, 0)
        rejected = {reason: counts.pop(reason, 0) for reason in GATES} | counts
        attempts = accepted + surplus + sum(rejected.values())
        outcomes.append(GateOutcome(modality, fst, attempts, accepted, surplus, rejected))
    return outcomes


def rejection_rates(inputs: Inputs) -> list[RejectionRate]:
    """Return each gate's own rate by skin type, whatever the gates before it said; not where it abstained."""
    counted = [f"count({g}_score) AS {g}_judged, count(*) FILTER (NOT {g}_passed) AS {g}_refused" for g in GATES]
    counted.append(f"count(*) AS {ANY}_judged, count(*) FILTER (reason <> '{SURPLUS}') AS {ANY}_refused")
    rows = inputs.rows(
        f"SELECT modality, fst, {', '.join(counted)} FROM ledger GROUP BY ALL ORDER BY modality, fst NULLS LAST"
    )
    return [
        rejection_rate(row["modality"], row["fst"], gate, row[f"{gate}_judged"], row[f"{gate}_refused"])
        for row in rows
        for gate in (*GATES, ANY)
        if row[f"{gate}_judged"]
    ]


def quarantine_counts(inputs: Inputs) -> list[QuarantineCountRow]:
    """Return how many source rows did not enter, by source and reason."""
    query = "SELECT source, code, count(*) AS rows FROM quarantine GROUP BY ALL ORDER BY source, code"
    return [QuarantineCountRow(**row) for row in inputs.rows(query)]


def counts(inputs: Inputs, strata: list[BalanceRow]) -> dict[str, int]:
    """Return the release's numbers of images, by what they are; written to release.json and checked by `verify`."""
    found = {"images": 0, "real": 0, "synthetic": 0, "withheld": 0}
    found |= {f"{kind}_{split}": 0 for kind, split in _PARTS}
    for row in inputs.rows("SELECT kind, split, shared, count(*) AS n FROM released GROUP BY ALL"):
        for key in ("images", row["kind"], f"{row['kind']}_{row['split']}"):
            found[key] += row["n"]
        found["withheld"] += 0 if row["shared"] else row["n"]
    found["attempts"] = inputs.count("SELECT count(*) AS n FROM ledger")
    found["quarantined"] = inputs.count("SELECT count(*) AS n FROM quarantine")
    found["strata"] = len(strata)
    found |= {key: sum(getattr(row, key) for row in strata) for key in ("quota", "shortfall", "missing")}
    return found


_PARTS: Final = (("real", "train"), ("real", "validation"), ("real", "test"), ("synthetic", "train"))


def sources(inputs: Inputs, where: str = "true") -> list[dict[str, Any]]:
    """Return the real images' sources as dicts: source, licence, allows, images, patients named, shared, files_sha256.

    `files_sha256` is over the sha256 of each image's source file, so it names the source's content and not, like
    data/sources.json, also the time its files were written.
    """
    return inputs.rows(
        "SELECT source, licence, count(*) AS images, count(DISTINCT patient_id) AS patients, "
        "list_sort(any_value(licence_allows)) AS allows, list_has_all(any_value(licence_allows), ['share', 'derive']) AS shared, "
        r"sha256(string_agg(source_sha256, '\n' ORDER BY source_sha256, source_row_id)) AS files_sha256 "
        f"FROM catalog WHERE {where} GROUP BY source, licence ORDER BY source, licence"
    )


def checkpoints(inputs: Inputs) -> list[dict[str, Any]]:
    """Return every checkpoint that made an attempt: generator, sha256, sampler (JSON), attempts, accepted.

    `sampler` holds the settings that all of its strata share; what differs (the tone asked for) is in gates.parquet.
    """
    rows = inputs.rows(
        "SELECT generator, checkpoint_sha256 AS sha256, list(DISTINCT sampler ORDER BY sampler) AS samplers, "
        "count(*) AS attempts, count(*) FILTER (accepted) AS accepted FROM ledger "
        "GROUP BY generator, checkpoint_sha256 ORDER BY generator, checkpoint_sha256"
    )
    for row in rows:
        first, *others = (json.loads(text) for text in row.pop("samplers"))
        shared = {k: v for k, v in first.items() if all(k in other and other[k] == v for other in others)}
        row["sampler"] = json.dumps(shared, sort_keys=True)
    return rows
