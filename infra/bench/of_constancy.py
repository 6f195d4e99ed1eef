"""ITA error on phantoms under several lights, with and without colour constancy, by FST. Not speed: truth.

A camera's white balance corrects the light by 100% (even), 80% or 50%; the rest stays as a cast. Everything else of the
scene (hair, furrows, uneven light, vignette) is drawn as in the default phantoms.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.constancy import balance
from pipelines.imaging.tone import measure_ita
from pipelines.phantoms.lesions import PAINTERS
from pipelines.phantoms.scene import ITA_DRAWN_DEG, Camera, render
from schemas.words import FST_RANGE, FST_ROMAN, ColourConstancy

EACH = 24
RESOLUTION = 64
LIGHTS: tuple[tuple[Any, float], ...] = (("D65", 1.0), ("D50", 0.8), ("LED", 0.8), ("A", 0.8), ("A", 0.5))


def measure(args: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001 - no speed, nothing to repeat
    """Return the absolute ITA error, degrees (p50, p90) and the median signed error, by method, light and FST."""
    errors: dict[tuple[str, str, int], list[float]] = {}
    for fst in FST_RANGE:
        for illuminant, adaptation in LIGHTS:
            for index in range(EACH):
                truth, pixels, mask = _phantom(fst, index, illuminant, adaptation)
                for method in ColourConstancy:
                    found = measure_ita(balance(pixels, method), mask).deg
                    key = (str(method), f"{illuminant} {adaptation:.0%}", fst)
                    errors.setdefault(key, []).append(np.nan if found is None else found - truth)
    table = [_row(key, np.array(values)) for key, values in errors.items()]
    print(markdown(errors))
    return {"phantoms": EACH * len(FST_RANGE), "lights": len(LIGHTS), "resolution_px": RESOLUTION, "errors": table}


def _phantom(
    fst: int, index: int, illuminant: Any, adaptation: float
) -> tuple[float, NDArray[np.uint8], NDArray[np.bool_]]:
    """Return (true ITA in degrees, pixels, lesion mask); the same skin, lesion and hair under every light."""
    rng = np.random.default_rng([fst, index, 2004])
    truth, blood = float(rng.uniform(*ITA_DRAWN_DEG[fst])), float(rng.uniform(0.012, 0.04))
    camera = Camera(illuminant, adaptation, exposure=1.0, gradient=0.05, vignette=0.15, rim=index % 8 == 0)
    lesion = list(PAINTERS)[index % len(PAINTERS)]
    return truth, *render(rng, lesion, truth, blood, RESOLUTION, camera)


def _row(key: tuple[str, str, int], error: NDArray[np.float64]) -> dict[str, Any]:
    method, light, fst = key
    p50, p90 = np.nanquantile(np.abs(error), (0.5, 0.9))
    found = int(np.isfinite(error).sum())
    return {
        "method": method, "light": light, "fst": fst, "n": len(error), "no_angle": len(error) - found,
        "p50": round(float(p50), 2), "p90": round(float(p90), 2), "bias": round(float(np.nanmedian(error)), 2),
    }  # fmt: skip


def markdown(errors: dict[tuple[str, str, int], list[float]]) -> str:
    """Return the table of docs/skin-tone.md: median absolute error, and in brackets the median signed one, degrees."""
    lines = [
        "| method | light, share corrected | " + " | ".join(FST_ROMAN[f] for f in FST_RANGE) + " |",
        "|---|---|" + "---|" * len(FST_RANGE),
    ]
    for method, light in dict.fromkeys((m, w) for m, w, _ in errors):
        cells = []
        for fst in FST_RANGE:
            error = np.array(errors[method, light, fst])
            cells.append(f"{np.nanmedian(np.abs(error)):.1f} ({np.nanmedian(error):+.1f})")
        lines.append(f"| {method} | {light} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
