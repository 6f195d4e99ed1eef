"""Refuses images that the skin type probe takes for a far lighter or darker skin than was asked."""

from __future__ import annotations

import numpy as np

from pipelines.probes.skin_type import colours
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict, steady, verdict


def judge(candidates: Candidates, limits: Limits) -> list[Verdict]:
    """Return verdicts scored by the probe's probability of the requested type or one next to it, 0-1.

    A neighbour counts because two people who rate one skin often differ by one type (Groh et al. 2022); the exact band
    is the tone gate's business. It abstains (kept, score None) where no type was asked for, and where the probe's own
    reading of held-out real images is not to be trusted: `calibration.tone_probe` says which types, and why.
    """
    probe, asked = limits.reference.skin_type_probe, candidates.fst
    if probe is None or asked is None or not limits.calibration.tone_probe.judges(asked):
        return [Verdict(True, None, None)] * len(candidates.pixels)
    least = limits.params.tone_probe_min_probability
    chances = probe.probabilities(colours(candidates.tones), candidates.features)
    likeliest = np.array(probe.types)[chances.argmax(axis=1)]
    return [
        verdict(near >= least, near, f"FST {asked} or next to it at {near:.2f}, needs {least:g}; looks like {kind}")
        for near, kind in zip(steady(probe.near(chances, asked)), likeliest, strict=True)
    ]
