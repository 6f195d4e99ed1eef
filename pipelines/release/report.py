"""report.html: one page that shows a reader what a release holds. It needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.release import scores, tally
from pipelines.release.inputs import Inputs
from pipelines.release.pictures import Shown, fst_label, strip_uri
from pipelines.release.refused import gate_context
from schemas.licences import licence_of
from schemas.release import BalanceRow, ReleaseFacts
from schemas.source_params import dataset_of
from schemas.words import FST_ROMAN, LESION_SHORT, Kind, Lesion, Modality

RAMP: Final = ((232, 245, 243), (88, 172, 168), (8, 62, 72))
"""Few, some, many: one hue, so that it reads in grey and to the colour-blind too."""
BLACK: Final = (0, 0, 0)
WHITE: Final = (255, 255, 255)
"""Inks: only with these two has every ground a contrast of 4.58 or more with one of them."""


@dataclass(frozen=True)
class Shade:
    """A heat map cell's colours as CSS."""

    ground: str
    ink: str


@dataclass(frozen=True)
class Panel:
    """One modality's grid: skin types down, lesions across."""

    modality: str
    skins: list[int | None]
    lesions: list[str]
    cells: dict[tuple[int | None, str], BalanceRow]
    pictures: dict[tuple[int | None, str, str], str]  # (fst, lesion, kind) -> data URI


def environment() -> Environment:
    """Return the Jinja environment of the templates beside this module: everything escaped, unknown names an error."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {
        "n": lambda value: f"{value:,}",
        "pct": percent,
        "words": lambda text: str(text).replace("_", " "),
    }
    found.globals |= {"fst_label": fst_label, "roman": lambda fst: FST_ROMAN[fst] if fst else "unknown"}
    return found


def percent(share: float) -> str:
    """Return a share of 1 as a whole percentage, with one digit below 10%."""
    return f"{share * 100:.1f}%" if 0 < share < 0.0995 else f"{share * 100:.0f}%"


def shade(count: int, most: int) -> Shade:
    """Return the colours of a cell by its count, log scale; black or white ink, whichever stands out more."""
    t = log1p(count) / log1p(most) if most else 0.0
    start = 0 if t < 0.5 else 1
    ground = tuple(round(a + (b - a) * (2 * t - start)) for a, b in zip(RAMP[start], RAMP[start + 1], strict=True))
    ink = max((BLACK, WHITE), key=lambda colour: contrast(colour, ground))
    return Shade(_css(ground), _css(ink))


def contrast(one: Sequence[int], other: Sequence[int]) -> float:
    """Return the contrast ratio of two sRGB colours, 1-21 (WCAG 2.1; 4.5 is readable)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Sequence[int]) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _css(colour: Sequence[int]) -> str:
    return "#" + "".join(f"{c:02x}" for c in colour)


def panels(strata: Sequence[BalanceRow], shown: Shown) -> list[Panel]:
    """Return one panel a modality, in the order of the strata."""
    found = []
    for modality in dict.fromkeys(row.modality for row in strata):
        rows = [row for row in strata if row.modality == modality]
        cells = {(row.fst, row.lesion.value): row for row in rows}
        lesions = [lesion.value for lesion in Lesion if any(row.lesion == lesion for row in rows)]
        pictures = {
            (fst, lesion, kind.value): strip_uri(images)
            for (kind, (m, fst, lesion)), images in shown.items()
            if m == modality and images
        }
        found.append(Panel(modality.value, list(dict.fromkeys(row.fst for row in rows)), lesions, cells, pictures))
    return found


def render_report(inputs: Inputs, facts: ReleaseFacts, strata: Sequence[BalanceRow], shown: Shown) -> str:
    """Return report.html."""
    return environment().get_template("report.html.j2").render(**_context(inputs, facts, strata, shown))


def _context(inputs: Inputs, facts: ReleaseFacts, strata: Sequence[BalanceRow], shown: Shown) -> dict[str, Any]:
    metrics = inputs.metrics
    modalities = {row.modality for row in strata}
    return {
        "facts": facts,
        "counts": facts.counts,
        "phantoms": Modality.PHANTOM in modalities,
        "only_phantoms": modalities == {Modality.PHANTOM},
        "panels": panels(strata, shown),
        "most": max((row.n_after for row in strata), default=0),
        "shade": shade,
        "short": {lesion.value: LESION_SHORT[lesion] for lesion in Lesion},
        "kinds": [kind.value for kind in Kind],
        "per_cell": inputs.params.release.sheet_per_cell,
        "wanted": [row for row in strata if row.need],
        **gate_context(inputs),
        "metrics": metrics,
        "sections": [
            ("tone", "Skin tone", scores.tone_table(metrics)),
            ("fidelity", "Likeness to real images", scores.fidelity_table(metrics)),
            ("utility", "Use for training", scores.utility_table(metrics)),
        ],
        "quarantine": tally.quarantine_counts(inputs),
        **provenance(inputs),
    }


def provenance(inputs: Inputs) -> dict[str, Any]:
    """Return what both the report and the datasheet say about origin."""
    learned = tally.sources(inputs, "split = 'train'")
    return {
        "sources": [{**row, **_dataset(inputs, row["source"])} for row in tally.sources(inputs)],
        "learned": learned,
        "checkpoints": [{**row, "start": _start(inputs, row)} for row in tally.checkpoints(inputs)],
        "terms": inputs.terms,
        "licences": [licence_of(i) for i in sorted({row["licence"] for row in tally.sources(inputs)})],
    }


def _dataset(inputs: Inputs, source: str) -> dict[str, str]:
    """Return a source's title and citation, where params.yaml still names it."""
    entry = inputs.params.sources.use.get(source)
    dataset = dataset_of(source, entry) if entry else None
    return {"title": dataset.title if dataset else source, "citation": dataset.citation if dataset else ""}


def _start(inputs: Inputs, checkpoint: dict[str, Any]) -> str | None:
    """Return what a checkpoint's training started from, where its config is at hand and says so."""
    config = inputs.models.get(checkpoint["generator"], {})
    start = config.get("start") if config.get("sha256") == checkpoint["sha256"] else None
    return str(start) if start is not None else None
