"""Skin colour from melanin and blood.

Two layers, after Cotton & Claridge (1996) and Alotaibi & Smith (2017): light crosses the epidermis twice (Beer-Lambert)
and is returned by a semi-infinite dermis (Kubelka-Munk):

    R(l) = r_s + (1 - r_s) T_epi(l)^2 R_derm(l),   T_epi = exp(-mu_epi d),   R_derm = 1 + K/S - sqrt((K/S)^2 + 2 K/S)

Absorption and scattering in cm^-1 at wavelength l in nm, from Jacques (1998), "Skin optics":

    melanosome  6.6e11 l^-3.33        bloodless skin  0.244 + 85.3 exp(-(l - 154)/66.2)
    reduced scattering of the dermis  2e5 l^-1.5 + 2e12 l^-4

Haemoglobin: molar extinction tabulated by Prahl (OMLC, 1998), 150 g/l, 64,500 g/mol. Colour matching functions: the
multi-lobe fit of Wyman, Sloan & Shirley (2013). r_s = 0.02 is the part of the 2.8% Fresnel reflection at n = 1.4 that a
camera sees as haze off the glossy angle; without it dark skin comes out saturated orange, which no photograph shows.
What it is not: no hair, no highlights, no depth structure within a layer; those are painted by `scene`. Hence colours
are plausible skin, not spectrophotometry.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from pipelines.imaging.colour import RGB_FROM_XYZ, WHITE_D65, ita_from_lab, lab_from_linear

Float = NDArray[np.float32]
Illuminant = Literal["D65", "D50", "A", "LED"]

NM: Final = np.arange(400, 701, 10, dtype=np.float64)
EPIDERMIS_CM: Final = 0.006
SURFACE: Final = 0.02
SATURATION: Final = 0.75
MELANIN_RANGE: Final = (0.003, 1.80)
BLOOD_RANGE: Final = (0.001, 0.60)

# fmt: off
_HBO2: Final = np.array([
    266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209, 26629, 23684, 20933, 20035, 24202, 39957, 53236, 43016,
    32613, 44496, 50104, 14401, 3200, 1506, 942, 610, 442, 368, 320, 294, 278, 276, 290], np.float64)
_HB: Final = np.array([
    223296, 303956, 407560, 528600, 413280, 103292, 23389, 16156, 14550, 16684, 20862, 25774, 31590, 39037, 46592, 53412,
    53788, 45072, 37020, 28324, 14677, 9444, 6510, 5149, 4345, 3750, 3227, 2795, 2408, 2052, 1794], np.float64)
_D65: Final = np.array([
    82.75, 91.49, 93.43, 86.68, 104.86, 117.01, 117.81, 114.86, 115.92, 108.81, 109.35, 107.80, 104.79, 107.69, 104.41,
    104.05, 100.00, 96.33, 95.79, 88.69, 90.01, 89.60, 87.70, 83.29, 83.70, 80.03, 80.21, 82.28, 78.28, 69.72, 71.61], np.float64)
_D50: Final = np.array([
    49.31, 56.51, 60.03, 57.82, 74.82, 87.25, 90.61, 91.37, 95.11, 91.96, 95.72, 96.61, 97.13, 102.10, 100.75, 102.32,
    100.00, 97.74, 98.92, 93.50, 97.69, 99.27, 99.04, 95.72, 98.86, 95.67, 98.19, 103.00, 99.13, 87.38, 91.60], np.float64)
# fmt: on


def _lobe(mean: float, below: float, above: float) -> NDArray[np.float64]:
    width = np.where(mean > NM, below, above)
    return np.exp(-0.5 * ((NM - mean) * width) ** 2)


def _colour_matching() -> NDArray[np.float64]:
    """Return the 2 degree observer at `NM`, shape (31, 3): Wyman et al. 2013, table 1 (multi-lobe)."""
    x = (
        0.362 * _lobe(442.0, 0.0624, 0.0374)
        + 1.056 * _lobe(599.8, 0.0264, 0.0323)
        - 0.065 * _lobe(501.1, 0.0490, 0.0382)
    )
    y = 0.821 * _lobe(568.8, 0.0213, 0.0247) + 0.286 * _lobe(530.9, 0.0613, 0.0322)
    z = 1.217 * _lobe(437.0, 0.0845, 0.0278) + 0.681 * _lobe(459.0, 0.0385, 0.0725)
    return np.stack([x, y, z], axis=1)


def _power(illuminant: Illuminant) -> NDArray[np.float64]:
    """Return the relative spectral power at `NM`: CIE D65, D50, A (2,856 K black body), or a 4,000 K phosphor LED."""
    if illuminant == "D65":
        return _D65
    if illuminant == "D50":
        return _D50
    if illuminant == "A":
        return 100 * (560 / NM) ** 5 * np.expm1(1.435e7 / (2848 * 560)) / np.expm1(1.435e7 / (2848 * NM))
    return 80 * np.exp(-0.5 * ((NM - 450) / 11) ** 2) + 100 * np.exp(-0.5 * ((NM - 590) / 62) ** 2)


def reflectance(melanin: Float, blood: Float) -> Float:
    """Return reflectance at `NM`, shape (..., 31), in [0, 1].

    Args:
        melanin: melanosome volume fraction of the epidermis, 0-1 (Jacques: 0.013-0.063 light, 0.11-0.16 moderate,
            0.18-0.43 dark skin).
        blood: blood volume fraction of the dermis, 0-1 (0.002-0.07 in normal skin).
    """
    m, b = melanin[..., None].astype(np.float64), blood[..., None].astype(np.float64)
    bloodless = 0.244 + 85.3 * np.exp(-(NM - 154) / 66.2)
    mu_epidermis = m * 6.6e11 * NM**-3.33 + (1 - m) * bloodless
    transmitted = np.exp(-mu_epidermis * EPIDERMIS_CM)
    haemoglobin = SATURATION * _HBO2 + (1 - SATURATION) * _HB
    mu_dermis = b * 2.303 * haemoglobin * 150 / 64500 + (1 - b) * bloodless
    ratio = mu_dermis / (2e5 * NM**-1.5 + 2e12 * NM**-4)
    dermis = 1 + ratio - np.sqrt(ratio**2 + 2 * ratio)
    return np.asarray(SURFACE + (1 - SURFACE) * transmitted**2 * dermis, np.float32)


def rgb_from_reflectance(spectrum: Float, illuminant: Illuminant = "D65", adaptation: float = 1.0) -> Float:
    """Return linear sRGB of shape (..., 3) for reflectance at `NM` under `illuminant`.

    Args:
        adaptation: how far the camera's white balance corrects the illuminant to D65, 0 (not at all) to 1 (fully);
            a per-channel gain in XYZ (wrong von Kries), the simplest that leaves a realistic cast.
    """
    weights = _power(illuminant)[:, None] * _colour_matching()
    weights /= weights[:, 1].sum()
    xyz = spectrum @ weights.astype(np.float32)
    white = weights.sum(axis=0)
    gain = (WHITE_D65 / white) ** adaptation
    return np.asarray((xyz * gain) @ RGB_FROM_XYZ.T, np.float32)


@lru_cache(maxsize=16)
def _table(illuminant: Illuminant, adaptation: float) -> Float:
    """Return linear RGB over a 96 x 48 grid of log melanin x log blood, shape (3, 96, 48)."""
    melanin = np.geomspace(*MELANIN_RANGE, 96, dtype=np.float32)
    blood = np.geomspace(*BLOOD_RANGE, 48, dtype=np.float32)
    grid = np.broadcast_arrays(melanin[:, None], blood[None, :])
    rgb = rgb_from_reflectance(reflectance(grid[0], grid[1]), illuminant, adaptation)
    return np.ascontiguousarray(np.moveaxis(rgb, -1, 0))


def skin_rgb(melanin: Float, blood: Float, illuminant: Illuminant = "D65", adaptation: float = 1.0) -> Float:
    """Return linear sRGB, shape (..., 3), by bilinear look-up; fractions outside the tabulated range are clipped."""
    rows = _coordinate(melanin, MELANIN_RANGE, 96)
    columns = _coordinate(blood, BLOOD_RANGE, 48)
    table = _table(illuminant, round(adaptation, 2))
    channels = [map_coordinates(c, [rows, columns], order=1, mode="nearest") for c in table]
    return np.stack(channels, axis=-1).astype(np.float32)


def _coordinate(value: Float, limits: tuple[float, float], size: int) -> Float:
    low, high = np.log(limits[0]), np.log(limits[1])
    return ((np.log(np.clip(value, *limits)) - low) / (high - low) * (size - 1)).astype(np.float32)


def ita_of(melanin: float, blood: float) -> float:
    """Return the ITA in degrees of even skin under D65, without lighting or camera."""
    rgb = skin_rgb(np.array([melanin], np.float32), np.array([blood], np.float32))
    return float(ita_from_lab(lab_from_linear(rgb))[0])


def melanin_for_ita(ita_deg: float, blood: float) -> float:
    """Return the melanin fraction whose even skin has the given ITA under D65, by bisection (ITA falls with melanin).

    An angle out of the model's reach gives the nearest end of `MELANIN_RANGE`.
    """
    low, high = (float(np.log(v)) for v in MELANIN_RANGE)
    for _ in range(24):
        middle = (low + high) / 2
        if ita_of(float(np.exp(middle)), blood) > ita_deg:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))
