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

from pipelines.imaging.colour import Float, lab_from_linear, lab_planes, linear_from_srgb8

LOOKED_AT: Final = 48
"""Least side of the picture looked at, px; a larger one is reduced by the whole number that leaves no less."""

LEAST_PIXELS: Final = 40
"""Fewer skin pixels than this are not enough for a tone."""

BLACK_L: Final = 6.0
"""L* under which a pixel is a dermoscope's rim or deep shadow, not skin (FST VI phantoms lie near 25)."""

_RIM_SHARE: Final = 0.02
"""Share of black pixels from which there is a rim, whose soft inner edge is then left out too."""

_LEVELS: Final = np.arange(101) + 0.5
"""Middles of the bins that lightness is counted in, L*."""

_GAP_L: Final = 18.0
"""L* between the means of two groups of pixels that cannot both be one person's skin in one even light."""

_TWO_GROUPS: Final = 0.80
"""Otsu's share of the variance between groups from which there are two; one Gaussian has 0.64, a flat ramp 0.75."""


@dataclass(frozen=True)
class Skin:
    """The skin found in a picture; none, where fewer than `LEAST_PIXELS` were found."""

    shape: tuple[int, int]
    """Of the reduced picture, (h, w)."""
    places: NDArray[np.intp]
    """Of its pixels, row after row, that are skin, (n,)."""
    planes: Float
    """CIELAB of those pixels, (3, n)."""

    @property
    def where(self) -> NDArray[np.bool_]:
        """Whether a pixel is skin, at the reduced size, (h, w)."""
        found = np.zeros(self.shape, np.bool_)
        found.reshape(-1)[self.places] = True
        return found

    @property
    def lab(self) -> Float:
        """CIELAB of those pixels, (n, 3)."""
        return self.planes.T


def find_skin(picture: NDArray[np.uint8] | Image.Image, mask: NDArray[np.bool_] | None = None) -> Skin:
    """Return the skin around a lesion, on the picture reduced to `LOOKED_AT` px or a little more.

    1. What lies outside the dilated lesion mask or, without a mask, in the outer ring of the picture; never its corners.
    2. Without black (a dermoscope's rim and its soft edge).
    3. Where lightness falls into two groups (Otsu 1979) too far apart to be one skin, the lighter if it is coloured like
       skin (the darker is ink, hair, a shadow or a lesion that fills the frame), the darker if the lighter cannot be.
    4. Without what differs from the median of L*, a* or b* by more than 2.5 robust standard deviations, twice: single
       hairs, highlights, ruler, the rest of the lesion.

    What it is not: a detector of skin. A picture of a table has skin for it too.

    Args:
        picture: uint8 sRGB, shape (height, width, 3), or the same as Pillow holds it, which is quicker to reduce.
        mask: True on the lesion, shape (height, width).
    """
    small, lesion = _reduced(picture, mask)
    places = _candidates(small, lesion)
    planes = lab_planes(linear_from_srgb8(small.reshape(-1, 3).take(places, axis=0)))
    group = _one_group(planes)
    if group is not None:
        places, planes = places.take(group), planes.take(group, axis=1)
    for _ in range(2):
        if len(places) < LEAST_PIXELS:
            break
        near = _near_median(planes)
        places, planes = places.take(near), planes.take(near, axis=1)
    if len(places) < LEAST_PIXELS:
        places, planes = places[:0], planes[:, :0]
    return Skin(small.shape[:2], places, planes)


def lab_at(pixels: NDArray[np.uint8], where: NDArray[np.bool_]) -> Float:
    """Return CIELAB (n, 3) of the places `find_skin` found in one picture, in another of the same size (h, w, 3)."""
    small, _ = _reduced(pixels, None)
    return lab_from_linear(linear_from_srgb8(small[where]))


def _reduced(
    picture: NDArray[np.uint8] | Image.Image, mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Return the picture reduced by a whole number (area average), and the mask: true where any of the area was."""
    factor = min(picture.size if isinstance(picture, Image.Image) else picture.shape[:2]) // LOOKED_AT
    if factor < 2:
        return np.asarray(picture), mask
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    small = np.asarray(image.reduce(factor))
    if mask is None:
        return small, None
    return small, np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).reduce(factor)) > 0


@lru_cache(maxsize=8)
def _zones(height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.intp]]:
    """Return (field of view without the corners, outer ring where skin is likely), shape (height, width), its places."""
    y, x = np.ogrid[:height, :width]
    radius = np.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1)
    ring = (radius > 0.62) & (radius < 1.25)
    return radius < 1.25, ring, np.flatnonzero(ring)


def _candidates(small: NDArray[np.uint8], lesion: NDArray[np.bool_] | None) -> NDArray[np.intp]:
    """Return which pixels, row after row, may be skin at all: steps 1 and 2 of `find_skin`."""
    field, ring, places = _zones(*small.shape[:2])
    grown = max(1, small.shape[0] // 32)
    # Green is most of L*; BLACK_L is a green of 15 in 255 on grey.
    black = small[..., 1] < 15
    if black.any():
        black &= (small[..., 0] < 28) & (small[..., 2] < 28)
    share = float(black.mean())
    if lesion is None and share == 0:
        return places
    may = ring if lesion is None else field & ~binary_dilation(lesion, iterations=grown)
    if share > _RIM_SHARE:
        black = binary_dilation(black, iterations=2 * grown)
    return np.flatnonzero(may & ~black)


def _one_group(planes: Float) -> NDArray[np.intp] | None:
    """Return which pixels are of the skin's group, one of two that lie far apart in lightness; None if all are."""
    cut, parted = _two_groups(planes[0])
    if cut is None:
        return None
    light, dark = np.flatnonzero(planes[0] >= cut), np.flatnonzero(planes[0] < cut)
    if min(len(light), len(dark)) < LEAST_PIXELS:
        return None
    enough = planes.shape[1] // 4
    of_light, of_dark = _kind(planes.take(light, axis=1)), _kind(planes.take(dark, axis=1))
    if of_light == "skin" and (of_dark != "skin" or (parted and len(light) >= enough)):
        return light
    # Pale skin is nearly grey, so a lighter group gives way only where it is surely something else.
    return dark if of_light == "thing" and of_dark == "skin" and parted and len(dark) >= enough else None


def _two_groups(lightness: Float) -> tuple[float | None, bool]:
    """Return the L* that parts two groups `_GAP_L` or more apart (Otsu's), or None; and whether little lies between."""
    if len(lightness) < 2 * LEAST_PIXELS:
        return None, False
    counts = np.bincount(np.minimum(lightness, 100).astype(np.intp), minlength=101).astype(np.float64)
    below, mass = counts.cumsum(), (counts * _LEVELS).cumsum()
    total, whole = below[-1], mass[-1]
    above = total - below
    low = mass / np.maximum(below, 1)
    high = (whole - mass) / np.maximum(above, 1)
    gap = high - low
    between = below * above / total**2 * gap**2
    cut = int(between.argmax())
    if gap[cut] < _GAP_L:
        return None, False
    variance = float((counts * (_LEVELS - whole / total) ** 2).sum() / total)
    return cut + 1.0, bool(between[cut] >= _TWO_GROUPS * variance)


def _kind(planes: Float) -> Literal["skin", "grey", "thing"]:
    """Return what a group's colour may be: reddish as skin, nearly grey, or a hue that skin has not (gloves, cloth)."""
    _, redness, yellowness = medians(planes)
    if redness < -0.5 or yellowness < -max(redness, 8):
        return "thing"
    return "skin" if redness > 2 and np.hypot(redness, yellowness) > 8 else "grey"


def _near_median(planes: Float) -> NDArray[np.intp]:
    """Return which pixels lie within 2.5 robust standard deviations of the median in L*, a* and b*."""
    # A thousand pixels say where the middle is to a tenth of an L*; the pixels are judged one by one all the same.
    middle, deviation = robust_medians(planes[:, :: max(1, planes.shape[1] // 1024)])
    reach = 2.5 * (1.4826 * deviation + 0.5)
    near = np.abs(planes - middle[:, None]) < reach[:, None]
    return np.flatnonzero(near[0] & near[1] & near[2])


def robust_medians(rows: Float) -> tuple[Float, Float]:
    """Return each row's median and the median of the distances from it.

    Rows are sorted once for both: the k values nearest to the median are neighbours then, so the k-th smallest distance
    is that of the farther end of the best window of k. Two selections take longer than one sorting and two windows.
    """
    ordered = np.sort(rows, axis=1)
    size, half = ordered.shape[1], ordered.shape[1] // 2
    odd = size % 2
    middle = ordered[:, half] if odd else (ordered[:, half - 1] + ordered[:, half]) * np.float32(0.5)
    beneath, over = middle[:, None] - ordered, ordered - middle[:, None]

    def distance(k: int) -> Float:
        return np.maximum(beneath[:, : size - k + 1], over[:, k - 1 :]).min(axis=1)

    return middle, distance(half + 1) if odd else (distance(half) + distance(half + 1)) * np.float32(0.5)


def medians(rows: Float) -> Float:
    """Return the median of each row; numpy's own checks for NaN cost as much as the selection at this size."""
    size = rows.shape[1]
    half = size // 2
    parted = np.partition(rows, half, axis=1)
    if size % 2:
        return parted[:, half]
    # Selecting both middle values takes half as long again as selecting the upper one and looking for the other.
    return (parted[:, :half].max(axis=1) + parted[:, half]) * np.float32(0.5)
