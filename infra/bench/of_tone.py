"""ITA error on phantoms of the default scene (hair, vignette, rim, uneven light, furrows) against their truth, by FST."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from pipelines.imaging.tone import measure_ita
from pipelines.phantoms.lesions import PAINTERS
from pipelines.phantoms.scene import ITA_DRAWN_DEG, render
from schemas.words import FST_RANGE, FST_ROMAN

EACH = 100
RESOLUTION = 64


def measure(args: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001 - no speed, nothing to repeat
    """Return the absolute error in degrees (p50, p90) and the median signed error, by FST, with and without a mask."""
    errors: dict[tuple[str, int], list[float]] = {}
    for fst in FST_RANGE:
        for index in range(EACH):
            rng = np.random.default_rng([fst, index, 1991])
            truth, blood = float(rng.uniform(*ITA_DRAWN_DEG[fst])), float(rng.uniform(0.012, 0.04))
            pixels, mask = render(rng, list(PAINTERS)[index % len(PAINTERS)], truth, blood, RESOLUTION)
            for given, lesion in (("lesion mask given", mask), ("no lesion mask", None)):
                found = measure_ita(pixels, lesion).deg
                errors.setdefault((given, fst), []).append(np.nan if found is None else found - truth)
    print("|  | " + " | ".join(FST_ROMAN[f] for f in FST_RANGE) + " | all |\n|---|" + "---|" * (len(FST_RANGE) + 1))
    table = []
    for given in dict.fromkeys(g for g, _ in errors):
        columns = [np.array(errors[given, f]) for f in FST_RANGE]
        rows = [_summary(c) for c in (*columns, np.concatenate(columns))]
        table += [{"given": given, "fst": f, **r} for f, r in zip((*FST_RANGE, None), rows, strict=True)]
        for what in ("p50", "p90", "bias"):
            print(f"| {given}, {what} | " + " | ".join(f"{r[what]:.2f}" for r in rows) + " |")
    return {"phantoms": EACH * len(FST_RANGE), "resolution_px": RESOLUTION, "errors_deg": table}


def _summary(error: np.ndarray) -> dict[str, Any]:
    p50, p90 = np.nanquantile(np.abs(error), (0.5, 0.9))
    missing = int(np.isnan(error).sum())
    return {"n": len(error), "no_angle": missing, "p50": p50, "p90": p90, "bias": float(np.nanmedian(error))}
