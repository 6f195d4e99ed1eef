"""Refuses images that the lesion probe takes for something else than was asked."""

from __future__ import annotations

from pipelines.produce.gates.verdict import Candidates, Limits, Verdict, steady, verdict


def judge(candidates: Candidates, limits: Limits) -> list[Verdict]:
    """Return verdicts scored by the probe's probability of the requested lesion, 0-1.

    Kept: the requested lesion is the likeliest one and reaches `lesion_min_probability`. The probe is a classifier of
    our own, fitted on the real training images; it does not know whether a clinician would agree.
    """
    probe, least = limits.reference.probe, limits.params.lesion_min_probability
    asked = candidates.lesion.value
    chances = steady(probe.probabilities(candidates.features))
    if asked not in probe.classes:
        return [Verdict(False, 0.0, f"the probe has never seen {asked}")] * len(chances)
    column = probe.classes.index(asked)
    return [
        verdict(
            best == column and row[column] >= least,
            row[column],
            f"{asked} at {row[column]:.2f}, needs {least:g}; looks like {probe.classes[best]} ({row[best]:.2f})",
        )
        for row, best in zip(chances, chances.argmax(axis=1), strict=True)
    ]
