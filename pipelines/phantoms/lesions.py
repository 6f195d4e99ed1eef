"""How each lesion class changes the skin: pigment, blood, surface. One painter a class.

The classes differ as the ABCD rule and the dermoscopy primers describe them (shape, border, colour, texture):
nevus - round, even brown, soft regular border; melanoma - asymmetric, ragged, several colours, blue-white veil;
basal cell carcinoma - pearly pink nodule, branching vessels, rolled border, sometimes an ulcer or blue-grey dots;
seborrhoeic keratosis - sharply stuck on, furrowed, dark plugs and pale cysts. They are drawings of these rules, not of
patients: a classifier that tells them apart knows the drawings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipelines.phantoms.fields import Grid, blob, curves, noise, spots
from schemas.words import Lesion

Float = NDArray[np.float32]


@dataclass
class Paint:
    """What a lesion does to the skin; every field has the grid's shape."""

    coverage: Float  # 0-1, the lesion's extent
    melanin: Float  # added melanin fraction
    melanin_kept: Float  # factor on the skin's own melanin
    blood: Float  # added blood fraction
    veil: Float  # 0-1, opacity of `veil_rgb` over the skin
    veil_rgb: Float  # linear RGB, shape (size, size, 3)
    relief: Float  # surface height, arbitrary unit; lit from one side by the scene


def _bare(coverage: Float) -> Paint:
    zero = np.zeros_like(coverage)
    rgb = np.zeros((*coverage.shape, 3), np.float32)
    return Paint(coverage, zero.copy(), np.ones_like(coverage), zero.copy(), zero.copy(), rgb, zero.copy())


def nevus(rng: Generator, g: Grid) -> Paint:
    """Return a round, even, brown spot with a soft regular border."""
    coverage, relative, _ = blob(rng, g, rng.uniform(0.24, 0.42), 0.025, rng.uniform(0.8, 1), rng.uniform(0.04, 0.08))
    paint = _bare(coverage)
    depth = rng.uniform(0.22, 0.45)
    falloff = 1 - rng.uniform(0.1, 0.35) * np.clip(relative, 0, 1)
    paint.melanin = coverage * depth * falloff * (1 + 0.06 * noise(rng, g.size, 9))
    paint.relief = coverage * rng.uniform(0, 0.5)
    return paint


def melanoma(rng: Generator, g: Grid) -> Paint:
    """Return a ragged, asymmetric patch of browns, black, red and blue-white."""
    coverage, _, angle = blob(rng, g, rng.uniform(0.38, 0.58), 0.13, rng.uniform(0.62, 0.9), rng.uniform(0.015, 0.03))
    paint = _bare(coverage)
    lobes = noise(rng, g.size, 4)
    lean = np.cos(angle - rng.uniform(0, 2 * np.pi))
    dark = 1 / (1 + np.exp(-3 * (lobes + 0.8 * lean)))
    streaks = 0.18 * noise(rng, g.size, 14)
    paint.melanin = coverage * np.clip(0.16 + rng.uniform(0.6, 1.1) * dark + streaks, 0.04, 1.5)
    red = np.clip(noise(rng, g.size, 4) - 0.6, 0, 1.2) * (1 - dark)
    paint.blood = coverage * red * rng.uniform(0.06, 0.16)
    veil = np.clip(noise(rng, g.size, 5) + 0.5 * lean - 0.35, 0, 1) * dark
    paint.veil = coverage * veil * rng.uniform(0.35, 0.7)
    paint.veil_rgb[:] = np.array([0.10, 0.125, 0.19], np.float32) * rng.uniform(0.8, 1.4)
    paint.relief = coverage * (0.4 + 0.25 * lobes)
    return paint


def basal_cell_carcinoma(rng: Generator, g: Grid) -> Paint:
    """Return a pearly pink nodule with branching vessels and a rolled border."""
    radius = rng.uniform(0.26, 0.44)
    coverage, relative, angle = blob(rng, g, radius, 0.04, rng.uniform(0.8, 1), rng.uniform(0.02, 0.04))
    paint = _bare(coverage)
    paint.melanin_kept = 1 - coverage * rng.uniform(0.3, 0.5)
    paint.blood = coverage * rng.uniform(0.05, 0.11) * (1 + 0.2 * noise(rng, g.size, 6))
    vessels = curves(rng, g.size, int(rng.integers(4, 9)), (0.012, 0.03), radius * 1.3, (0.0, 0.0))
    paint.blood += vessels * coverage * rng.uniform(0.25, 0.45)
    rim = np.exp(-(((relative - 0.86) / 0.13) ** 2)).astype(np.float32)
    pearl = rim * (0.6 + 0.4 * np.cos(angle - rng.uniform(0, 2 * np.pi)))
    paint.veil = coverage * pearl * rng.uniform(0.22, 0.42)
    paint.veil_rgb[:] = np.array([0.78, 0.66, 0.62], np.float32)
    paint.relief = coverage * (0.6 + 0.9 * rim)
    if rng.uniform() < 0.45:
        ulcer = 1 / (1 + np.exp(np.clip((relative - rng.uniform(0.25, 0.5)) * 18, -30, 30)))
        paint.melanin += coverage * ulcer * rng.uniform(0.1, 0.3)
        paint.blood += coverage * ulcer * rng.uniform(0.1, 0.3)
        paint.relief -= coverage * ulcer * 0.9
    if rng.uniform() < 0.35:
        paint.melanin += 0.6 * spots(rng, g, coverage, int(rng.integers(3, 8)), (0.02, 0.05))
    return paint


def seborrhoeic_keratosis(rng: Generator, g: Grid) -> Paint:
    """Return a sharply edged, furrowed, waxy plaque with dark plugs and pale cysts."""
    coverage, _, _ = blob(rng, g, rng.uniform(0.32, 0.52), 0.05, rng.uniform(0.7, 0.95), 0.012)
    paint = _bare(coverage)
    furrows = np.abs(noise(rng, g.size, int(rng.integers(8, 13))))
    ridge = np.exp(-furrows * 2.6).astype(np.float32)
    paint.melanin = coverage * (rng.uniform(0.12, 0.26) + rng.uniform(0.3, 0.55) * ridge)
    paint.melanin += 0.7 * spots(rng, g, coverage, int(rng.integers(5, 12)), (0.018, 0.035))
    cysts = spots(rng, g, coverage, int(rng.integers(4, 9)), (0.018, 0.035))
    wax = coverage * rng.uniform(0.02, 0.06)
    paint.veil = np.maximum(wax, cysts * 0.75)
    paint.veil_rgb[:] = np.array([0.62, 0.52, 0.40], np.float32)
    paint.relief = coverage * (0.8 - 0.7 * ridge)
    return paint


PAINTERS: Final[dict[Lesion, Callable[[Generator, Grid], Paint]]] = {
    Lesion.NEVUS: nevus,
    Lesion.MELANOMA: melanoma,
    Lesion.BASAL_CELL_CARCINOMA: basal_cell_carcinoma,
    Lesion.SEBORRHOEIC_KERATOSIS: seborrhoeic_keratosis,
}
"""The lesion classes phantoms can show."""
