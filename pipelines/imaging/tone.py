"""Skin tone as an angle: ITA measured on the skin around a lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.imaging.colour import ita_from_lab
from pipelines.imaging.skin import LEAST_PIXELS, find_skin, medians


@dataclass(frozen=True)
class Ita:
    """A measured tone: the angle in degrees (None where too little skin shows) and the pixels it stands on."""

    deg: float | None
    pixels: int
    lab: tuple[float, float, float] | None = None
    """Median L*, a* and b* of the skin; None with `deg`."""


def measure_ita(picture: NDArray[np.uint8] | Image.Image, mask: NDArray[np.bool_] | None = None) -> Ita:
    """Return the ITA in degrees of the skin outside the lesion, and the number of pixels it was measured on.

    ITA = arctan((median L* - 50) / median b*) over the skin of `find_skin`; the pixels are those of its reduced picture.
    Medians of L* and b* before the angle, not a median of angles: a noisy b* near 0 on dark skin makes the per-pixel
    angle swing by tens of degrees. This is a colour of one photograph, not a Fitzpatrick type: docs/skin-tone.md.

    Args:
        picture: uint8 sRGB, shape (height, width, 3), or the same as Pillow holds it.
        mask: True on the lesion, shape (height, width).
    """
    skin = find_skin(picture, mask)
    found = len(skin.places)
    if found < LEAST_PIXELS:
        return Ita(None, found)
    middle = medians(skin.planes)
    lightness, redness, yellowness = map(float, middle)
    return Ita(float(ita_from_lab(middle)), found, (lightness, redness, yellowness))
