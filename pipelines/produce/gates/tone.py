"""Refuses images whose measured skin tone is not the requested one."""

from __future__ import annotations

from pipelines.produce.gates.verdict import DECIMALS, Candidates, Limits, Verdict, verdict

NOT_MEASURABLE_DEG = 180.0
"""Score of an image on which no skin was found: as far off as an angle can be."""


def judge(candidates: Candidates, limits: Limits) -> list[Verdict]:
    """Return verdicts scored by the degrees outside the requested ITA band, 0 inside. Without a band all pass."""
    tolerance = limits.params.tone_tolerance_deg
    return [_judge_one(ita, candidates.band_deg, tolerance) for ita in candidates.ita_deg]


def _judge_one(ita: float | None, band: tuple[float, float] | None, tolerance: float) -> Verdict:
    if band is None:
        return Verdict(True, 0.0, None)
    if ita is None:
        return Verdict(False, NOT_MEASURABLE_DEG, "no skin to measure")
    outside = degrees_outside(ita, band)
    return verdict(
        outside <= tolerance,
        outside,
        f"ITA {ita:.1f} degrees, asked for {band[0]:g} to {band[1]:g} within {tolerance:g}",
    )


def degrees_outside(ita: float, band: tuple[float, float]) -> float:
    """Return how far an ITA lies outside a band, degrees; 0 inside."""
    return round(max(0.0, band[0] - ita, ita - band[1]), DECIMALS)
