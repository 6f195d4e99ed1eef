"""The metrics as tables for a reader: one row a question, one column a comparison, each number with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.release.pictures import fst_label
from schemas.metrics import (
    GROUP_LABEL,
    Comparison,
    Estimate,
    FidelityMetric,
    Metrics,
    ToneImages,
    ToneMeasure,
    Training,
    UtilityMeasure,
)


@dataclass(frozen=True)
class Cell:
    """One number as text. `note` is its interval and n, or why it was not measured."""

    value: str
    note: str


@dataclass(frozen=True)
class ScoreTable:
    """One section's numbers. Rows are (labels, cells): one for each of `labels`, one for each of `columns`."""

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[tuple[tuple[str, ...], list[Cell]]]


_METRIC: Final = {FidelityMetric.KID: "KID", FidelityMetric.FD: "FD"}
_COMPARISON: Final = {Comparison.SYNTHETIC_REAL: "synthetic vs real", Comparison.REAL_REAL: "real vs real (reference)"}
_TONE: Final = {
    ToneMeasure.SHARE_IN_BAND: "share inside the requested ITA band",
    ToneMeasure.MEDIAN_ERROR: "median error, degrees (above 0: too light)",
}
_IMAGES: Final = {ToneImages.ATTEMPTED: "every attempt", ToneImages.ACCEPTED: "released"}
_UTILITY: Final = {
    UtilityMeasure.ACCURACY: "accuracy",
    UtilityMeasure.MELANOMA_FNR: "melanomas missed (FNR)",
    UtilityMeasure.EDFR: "difference in melanomas missed (EDFR)",
    UtilityMeasure.FAIRNESS_GAP: "accuracy, light minus dark (fairness gap)",
}
_TRAINING: Final = {
    Training.REAL: "real only",
    Training.REAL_SYNTHETIC: "real + synthetic",
    Training.DIFFERENCE: "difference",
}


def fidelity_table(metrics: Metrics) -> ScoreTable:
    """Return how far synthetic images are from real ones, beside how far real ones are from each other."""
    found = [
        ((r.modality.value, GROUP_LABEL[r.group], _METRIC[r.metric], r.real_images.value), _COMPARISON[r.comparison], r)
        for r in metrics.fidelity
    ]
    return _pivot(("modality", "skin", "metric", "real images"), tuple(_COMPARISON.values()), found)


def tone_table(metrics: Metrics) -> ScoreTable:
    """Return how well the measured tone follows the requested one, before and after the gates."""
    found = [((r.modality.value, fst_label(r.fst), _TONE[r.measure]), _IMAGES[r.images], r) for r in metrics.tone]
    return _pivot(("modality", "skin", "measure"), tuple(_IMAGES.values()), found)


def utility_table(metrics: Metrics) -> ScoreTable:
    """Return what a classifier gains from the synthetic images on real test images."""
    found = [
        ((r.modality.value, _UTILITY[r.measure], GROUP_LABEL[r.group]), _TRAINING[r.training], r)
        for r in metrics.utility
    ]
    return _pivot(("modality", "measure", "skin"), tuple(_TRAINING.values()), found)


def _pivot(
    labels: tuple[str, ...], columns: tuple[str, ...], found: Sequence[tuple[tuple[str, ...], str, Estimate]]
) -> ScoreTable:
    rows: dict[tuple[str, ...], dict[str, Cell]] = {}
    for key, column, estimate in found:
        rows.setdefault(key, {})[column] = cell(estimate)
    absent = Cell("–", "")
    if len({key[0] for key in rows}) == 1:  # one modality: nothing to tell apart
        labels, rows = labels[1:], {key[1:]: cells for key, cells in rows.items()}
    return ScoreTable(labels, columns, [(key, [cells.get(c, absent) for c in columns]) for key, cells in rows.items()])


def cell(estimate: Estimate) -> Cell:
    """Return an estimate as text, e.g. `0.87` with `0.81 to 0.91, n 204`; a missing value as why it is missing."""
    if estimate.value is None:
        return Cell("not measured", estimate.reason or "no reason given")
    note = f"n {estimate.n:,}"
    if estimate.low is not None and estimate.high is not None:
        note = f"{number(estimate.low)} to {number(estimate.high)}, {note}"
    return Cell(number(estimate.value), note)


def number(value: float) -> str:
    """Return a number with three significant digits, never in powers of ten between 0.0001 and 100,000."""
    if value == 0:
        return "0"
    text = f"{value:.3g}" if 1e-4 <= abs(value) < 1000 else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1e}"
    return text.replace("-", "−")
