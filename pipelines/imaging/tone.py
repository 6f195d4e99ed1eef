"""Skin tone as an angle: ITA measured on the skin around a lesion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from pipelines.imaging.colour import lab_from_linear, linear_from_srgb8

LEAST_PIXELS: Final = 40
"""Fewer skin pixels than this give no ITA."""

BLACK_L: Final = 6.0
"""L* under which a pixel is a dermoscope's rim or deep shadow, not skin (FST VI phantoms lie near 25)."""


@dataclass(frozen=True)
class Ita:
    """A measured tone: the angle in degrees (None where too little skin shows) and the pixels it stands on."""

    deg: float | None
    pixels: int


@lru_cache(maxsize=8)
def _zones(height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (field of view without the corners, outer ring where skin is likely), shape (height, width)."""
    y, x = np.ogrid[:height, :width]
    radius = np.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1)
    return radius < 1.25, (radius > 0.62) & (radius < 1.25)


def measure_ita(pixels: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> Ita:
    """Return the ITA in degrees of the skin outside the lesion, and the number of pixels it was measured on.

    ITA = arctan((median L* - 50) / median b*) over skin pixels. Skin is what lies outside the dilated lesion mask, or,
    without a mask, in the outer ring of the picture; then what differs from the median by more than 2.5 robust standard
    deviations (hair, ruler, glove, rest of the lesion, highlights) is dropped, twice. Medians of L* and b* before the
    angle, not a median of angles: a noisy b* near 0 on dark skin makes the per-pixel angle swing by tens of degrees.
    This is a colour of one photograph, not a Fitzpatrick type.

    Args:
        pixels: uint8 sRGB, shape (height, width, 3).
        mask: True on the lesion, shape (height, width).
    """
    field, ring = _zones(*pixels.shape[:2])
    skin = field & ~binary_dilation(mask, iterations=max(1, pixels.shape[0] // 32)) if mask is not None else ring
    if mask is not None and int(skin.sum()) < LEAST_PIXELS:
        return Ita(None, int(skin.sum()))
    lab = lab_from_linear(linear_from_srgb8(pixels[skin]))
    tone = np.ascontiguousarray(lab[lab[:, 0] > BLACK_L].T[[0, 2]])  # (L* and b*, pixels)
    for _ in range(2):
        if tone.shape[1] < LEAST_PIXELS:
            break
        away = np.abs(tone - _medians(tone)[:, None])
        spread = 1.4826 * _medians(away) + 0.5
        tone = tone[:, (away < 2.5 * spread[:, None]).all(axis=0)]
    if tone.shape[1] < LEAST_PIXELS:
        return Ita(None, tone.shape[1])
    lightness, yellowness = _medians(tone)
    return Ita(float(np.degrees(np.arctan2(lightness - 50, max(float(yellowness), 1e-3)))), tone.shape[1])


def _medians(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median of each row; numpy's own checks for NaN cost as much as the selection at this size."""
    size = rows.shape[1]
    half = size // 2
    if size % 2:
        return np.partition(rows, half, axis=1)[:, half]
    both = np.partition(rows, (half - 1, half), axis=1)
    return (both[:, half - 1] + both[:, half]) * np.float32(0.5)
