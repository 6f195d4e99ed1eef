"""What is known of one image, as rows of facts and as text: one fact a line, what is unknown said to be unknown."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from schemas.ledger import GATE_SCORES
from schemas.licences import LICENCES
from schemas.words import Kind

_WIDTH: Final = 15


class Part(BaseModel):
    """Base of what a trace is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GateScore(Part):
    """What one gate said."""

    gate: str
    passed: bool
    score: float | None = Field(description="null: the gate abstained")


class TrainingSource(Part):
    """Real images a checkpoint learned from."""

    source: str
    images: int
    licence: str


class SyntheticOrigin(Part):
    """How a synthetic image was made."""

    generator: str
    checkpoint_sha256: str
    start: str | None = Field(description="what the checkpoint's training started from, if known: base or scratch")
    seed_index: int = Field(
        description="the attempt's number within its stratum; with it the same image can be made again"
    )
    sampler: dict[str, Any]
    gates: list[GateScore]
    accepted: bool
    reason: str | None = Field(description="the first gate that failed, or `surplus`")
    training: list[TrainingSource]


class RealOrigin(Part):
    """Where a real image comes from. Null: the publisher names none, or the catalog is not in this workspace."""

    source: str
    source_row_id: str | None
    source_sha256: str | None
    patient_id: str | None = Field(description="salted hash")
    lesion_id: str | None = Field(description="salted hash")
    fst_source: str | None
    in_catalog: bool


class Trace(Part):
    """Everything known of one image."""

    image_id: str
    kind: Kind
    releases: list[str] = Field(description="name and version of each release that holds it")
    stratum: str
    split: str | None
    ita_deg: float | None
    licence: str | None = Field(description="null for a synthetic image in no release")
    synthetic: SyntheticOrigin | None
    real: RealOrigin | None

    def text(self) -> str:
        """Return the trace for a person, one fact a line."""
        return "\n".join([f"image {self.image_id}: {self.kind}, {_state(self)}", *_lines(self)])


def _lines(trace: Trace) -> list[str]:
    facts: list[tuple[str, str]] = [("releases", ", ".join(trace.releases) or "none"), ("stratum", trace.stratum)]
    if trace.split:
        facts.append(("split", trace.split))
    facts.append(("measured ITA", "not measured" if trace.ita_deg is None else f"{trace.ita_deg:.1f} degrees"))
    if trace.synthetic:
        facts += _synthetic(trace.synthetic)
    if trace.real:
        facts += _real(trace.real)
    facts.append(("licence", _licence(trace.licence)))
    return [f"  {name:<{_WIDTH}} {value}" for name, value in facts]


def _state(trace: Trace) -> str:
    if trace.releases:
        return "released"
    made = trace.synthetic
    if made is None or made.accepted:
        return "not released"
    return (
        "not released: its stratum was full"
        if made.reason == "surplus"
        else f"not released: refused by the {made.reason} gate"
    )


def _synthetic(made: SyntheticOrigin) -> list[tuple[str, str]]:
    sampler = dict(made.sampler)
    asked = sampler.pop("request_deg", None)  # the ITA range the generator was asked for, degrees
    facts = [("requested ITA", f"{asked[0]:.1f} to {asked[1]:.1f} degrees")] if asked else []
    facts += [
        ("generator", f"{made.generator}, started from {made.start}" if made.start else made.generator),
        ("checkpoint", f"sha256 {made.checkpoint_sha256}"),
        ("seed index", str(made.seed_index)),
        ("sampler", ", ".join(f"{key} {value}" for key, value in sorted(sampler.items()))),
    ]
    for i, gate in enumerate(made.gates):
        said = f"{gate.gate:<10} {_said(gate)}  {GATE_SCORES[gate.gate]}"
        facts.append(("" if i else "gates", said))
    for i, source in enumerate(made.training):
        facts.append(
            ("" if i else "learned from", f"{source.source}: {source.images:,} training images, {source.licence}")
        )
    return facts if made.training else [*facts, ("learned from", "unknown: neither lineage nor catalog is here")]


def _said(gate: GateScore) -> str:
    if gate.score is None:
        return "abstained      "
    return f"{'passed' if gate.passed else 'FAILED'} {gate.score:8.3f}"


def _real(origin: RealOrigin) -> list[tuple[str, str]]:
    unnamed = (
        "the publisher names none" if origin.in_catalog else "unknown: releases do not carry it; ask where it was built"
    )
    return [
        ("source", origin.source),
        ("source row", origin.source_row_id or unnamed),
        ("source file", f"sha256 {origin.source_sha256}" if origin.source_sha256 else unnamed),
        ("patient", f"{origin.patient_id} (salted hash)" if origin.patient_id else unnamed),
        ("lesion", f"{origin.lesion_id} (salted hash)" if origin.lesion_id else unnamed),
        ("skin type by", origin.fst_source or ("nobody" if origin.in_catalog else unnamed)),
    ]


def _licence(licence_id: str | None) -> str:
    if licence_id is None:
        return "none yet: it is set when it enters a release"
    known = LICENCES.get(licence_id)
    return f"{licence_id} (allows {', '.join(known.allows) or 'nothing'})" if known else licence_id
