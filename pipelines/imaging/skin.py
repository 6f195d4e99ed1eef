"""Which pixels of a lesion's picture are plain skin: not lesion, hair, pen, rim, cloth or highlight.

Works on a reduced picture (`LOOKED_AT` to twice that many px a side): a tone is a median over a quarter of the picture,
and finding it on 224 px instead of 56 takes sixteen times as long for the same angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from pipelines.imaging.colour import Float, lab_from_linear, linear_from_srgb8

LOOKED_AT: Final = 48
"""Least side of the picture looked at, px; a larger one is reduced by the whole number that leaves no less."""

LEAST_PIXELS: Final = 40
"""Fewer skin pixels than this are not enough for a tone."""

BLACK_L: Final = 6.0
"""L* under which a pixel is a dermoscope's rim or deep shadow, not skin (FST VI phantoms lie near 25)."""

_RIM_SHARE: Final = 0.02
"""Share of black pixels from which there is a rim, whose soft inner edge is then left out too."""

_GAP_L: Final = 18.0
"""L* between the means of two groups of pixels that cannot both be one person's skin in one even light."""

_TWO_GROUPS: Final = 0.80
"""Otsu's share of the variance between groups from which there are two; one Gaussian has 0.64, a flat ramp 0.75."""


@dataclass(frozen=True)
class Skin:
    """The skin found in a picture. `where` is empty of True where fewer than `LEAST_PIXELS` were found."""

    where: NDArray[np.bool_]
    """At the reduced size, (h, w)."""
    lab: Float
    """CIELAB of those pixels, (n, 3)."""


def find_skin(pixels: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> Skin:
    """Return the skin around a lesion, on the picture reduced to `LOOKED_AT` px or a little more.

    1. What lies outside the dilated lesion mask or, without a mask, in the outer ring of the picture; never its corners.
    2. Without black (a dermoscope's rim and its soft edge).
    3. Where lightness falls into two groups (Otsu 1979) too far apart to be one skin, the lighter if it is coloured like
       skin (the darker is ink, hair, a shadow or a lesion that fills the frame), the darker if the lighter cannot be.
    4. Without what differs from the median of L*, a* or b* by more than 2.5 robust standard deviations, twice: single
       hairs, highlights, ruler, the rest of the lesion.

    What it is not: a detector of skin. A picture of a table has skin for it too.

    Args:
        pixels: uint8 sRGB, shape (height, width, 3).
        mask: True on the lesion, shape (height, width).
    """
    small, lesion = _reduced(pixels, mask)
    candidates = _candidates(small, lesion)
    places = np.flatnonzero(candidates)
    lab = lab_from_linear(linear_from_srgb8(small.reshape(-1, 3).take(places, axis=0)))
    kept = _one_group(lab)
    for _ in range(2):
        if len(kept) < LEAST_PIXELS:
            break
        kept = kept.take(_near_median(lab.take(kept, axis=0)))
    where = np.zeros(candidates.size, np.bool_)
    if len(kept) >= LEAST_PIXELS:
        where[places[kept]] = True
    else:
        kept = kept[:0]
    return Skin(where.reshape(candidates.shape), lab.take(kept, axis=0))


def lab_at(pixels: NDArray[np.uint8], where: NDArray[np.bool_]) -> Float:
    """Return CIELAB (n, 3) of the places `find_skin` found in one picture, in another of the same size (h, w, 3)."""
    small, _ = _reduced(pixels, None)
    return lab_from_linear(linear_from_srgb8(small[where]))


def _reduced(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Return the picture reduced by a whole number (area average), and the mask: true where any of the area was."""
    factor = min(pixels.shape[:2]) // LOOKED_AT
    if factor < 2:
        return pixels, mask
    small = np.asarray(Image.fromarray(pixels).reduce(factor))
    if mask is None:
        return small, None
    return small, np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).reduce(factor)) > 0


@lru_cache(maxsize=8)
def _zones(height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (field of view without the corners, outer ring where skin is likely), shape (height, width)."""
    y, x = np.ogrid[:height, :width]
    radius = np.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1)
    return radius < 1.25, (radius > 0.62) & (radius < 1.25)


def _candidates(small: NDArray[np.uint8], lesion: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Return where skin may be at all: steps 1 and 2 of `find_skin`."""
    field, ring = _zones(*small.shape[:2])
    grown = max(1, small.shape[0] // 32)
    may = ring if lesion is None else field & ~binary_dilation(lesion, iterations=grown)
    # Green is most of L*; BLACK_L is a green of 15 in 255 on grey.
    black = (small[..., 1] < 15) & (small[..., 0] < 28) & (small[..., 2] < 28)
    share = float(black.mean())
    if share > _RIM_SHARE:
        black = binary_dilation(black, iterations=2 * grown)
    return may & ~black if share > 0 else may


def _one_group(lab: Float) -> NDArray[np.intp]:
    """Return which pixels belong to the skin's group: all, or one of two groups that lie far apart in lightness."""
    everything = np.arange(len(lab))
    cut, parted = _two_groups(lab[:, 0])
    if cut is None:
        return everything
    light, dark = np.flatnonzero(lab[:, 0] >= cut), np.flatnonzero(lab[:, 0] < cut)
    if min(len(light), len(dark)) < LEAST_PIXELS:
        return everything
    enough = len(lab) // 4
    of_light, of_dark = _kind(lab.take(light, axis=0)), _kind(lab.take(dark, axis=0))
    if of_light == "skin" and (of_dark != "skin" or (parted and len(light) >= enough)):
        return light
    # Pale skin is nearly grey, so a lighter group gives way only where it is surely something else.
    return dark if of_light == "thing" and of_dark == "skin" and parted and len(dark) >= enough else everything


def _two_groups(lightness: Float) -> tuple[float | None, bool]:
    """Return the L* that parts two groups `_GAP_L` or more apart (Otsu's), or None; and whether little lies between."""
    if len(lightness) < 2 * LEAST_PIXELS:
        return None, False
    counts = np.bincount(np.clip(lightness, 0, 100).astype(np.intp), minlength=101).astype(np.float64)
    level, total = np.arange(101) + 0.5, counts.sum()
    below, mass = np.cumsum(counts), np.cumsum(counts * level)
    low = mass / np.maximum(below, 1)
    high = (mass[-1] - mass) / np.maximum(total - below, 1)
    between = below * (total - below) / total**2 * (high - low) ** 2
    cut = int(np.argmax(between))
    variance = float((counts * (level - mass[-1] / total) ** 2).sum() / total)
    if high[cut] - low[cut] < _GAP_L:
        return None, False
    return cut + 1.0, bool(between[cut] >= _TWO_GROUPS * variance)


def _kind(lab: Float) -> Literal["skin", "grey", "thing"]:
    """Return what a group's colour may be: reddish as skin, nearly grey, or a hue that skin has not (gloves, cloth)."""
    _, redness, yellowness = medians(np.ascontiguousarray(lab.T))
    if redness < -0.5 or yellowness < -max(redness, 8):
        return "thing"
    return "skin" if redness > 2 and np.hypot(redness, yellowness) > 8 else "grey"


def _near_median(lab: Float) -> NDArray[np.intp]:
    """Return which pixels lie within 2.5 robust standard deviations of the median in L*, a* and b*."""
    planes = np.ascontiguousarray(lab.T)
    # A thousand pixels say where the middle is to a tenth of an L*; the pixels are judged one by one all the same.
    some = np.ascontiguousarray(planes[:, :: max(1, len(lab) // 1024)])
    middle = medians(some)[:, None]
    spread = 1.4826 * medians(np.abs(some - middle)) + 0.5
    away = np.abs(planes - middle)
    return np.flatnonzero((away < 2.5 * spread[:, None]).all(axis=0))


def medians(rows: Float) -> Float:
    """Return the median of each row; numpy's own checks for NaN cost as much as the selection at this size."""
    size = rows.shape[1]
    half = size // 2
    if size % 2:
        return np.partition(rows, half, axis=1)[:, half]
    both = np.partition(rows, (half - 1, half), axis=1)
    return (both[:, half - 1] + both[:, half]) * np.float32(0.5)
