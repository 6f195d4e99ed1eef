"""Colour constancy: the light's colour guessed from a picture's own statistics, and divided out.

Both methods rest on an assumption about the scene, not about skin: that its (generalised) mean is grey. Skin that fills
a frame is the scene, so what they remove is in part the skin's own colour, and more of it the darker and more saturated
the skin is. docs/skin-tone.md has the error by skin type; the default is none.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.colour import linear_from_srgb8, srgb8_from_linear
from schemas.words import ColourConstancy

MINKOWSKI: Final[dict[ColourConstancy, int]] = {ColourConstancy.GREY_WORLD: 1, ColourConstancy.SHADES_OF_GREY: 6}
"""The norm that stands for the light: 1 is the mean (Buchsbaum 1980), 6 Finlayson & Trezzi's choice (2004)."""

SATURATED: Final = 250
"""From this value in any channel a pixel says nothing of the light: the sensor was full."""

BLACK: Final = 16
"""Below this in every channel a pixel is the rim of a dermoscope or no signal."""

LEAST_SHARE: Final = 0.05
"""Of the pixels must be neither; else the picture stays as it is."""

_LEVELS: Final = linear_from_srgb8(np.arange(256, dtype=np.uint8))


def balance(pixels: NDArray[np.uint8], method: ColourConstancy) -> NDArray[np.uint8]:
    """Return the picture with the guessed light made neutral; the same pixels for `none`.

    Each channel of linear RGB is multiplied by Y(e) / e, where e is `light_of` the picture and Y its luminance
    (Rec. 709). So a grey stays as light as it was: only the cast is removed, exposure is not touched.
    Results above 1 are clipped.

    Differs from the usual code: in linear light, because a light multiplies sensor responses and not their gamma-encoded
    values (Finlayson & Trezzi worked on linear data; on sRGB values the same gains would act as a power law, stronger in
    shadows and so on dark skin); and normalised by luminance, not by the norm of e, so that lightness is kept.

    Args:
        pixels: uint8 sRGB, shape (height, width, 3).
        method: how to guess.
    """
    light = light_of(pixels, method)
    if light is None:
        return pixels
    luminance = float(light @ np.array([0.2126, 0.7152, 0.0722]))
    tables = np.stack([srgb8_from_linear((_LEVELS * (luminance / e)).astype(np.float32)) for e in light], axis=1)
    return np.stack([tables[pixels[..., c], c] for c in range(3)], axis=-1)


def light_of(pixels: NDArray[np.uint8], method: ColourConstancy) -> NDArray[np.float64] | None:
    """Return the light's colour in linear RGB, shape (3,): (mean of v^p)^(1/p) over pixels neither saturated nor black.

    p = 1: Buchsbaum (1980), "A spatial processor model for object colour perception". p = 6: Finlayson & Trezzi (2004),
    "Shades of gray and colour constancy". None where the method is `none`, or where under `LEAST_SHARE` of the pixels
    can be used, or a channel is dark throughout.
    """
    if method == ColourConstancy.NONE:
        return None
    planes = [pixels[..., c] for c in range(3)]
    brightest = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    usable = (brightest >= BLACK) & (brightest < SATURATED)
    total = int(usable.sum())
    if total < LEAST_SHARE * usable.size:
        return None
    power = MINKOWSKI[method]
    powers = _LEVELS.astype(np.float64) ** power
    # A histogram has 256 powers to take instead of one a pixel.
    sums = [float(np.bincount(plane[usable], minlength=256) @ powers) for plane in planes]
    light = np.array([(s / total) ** (1 / power) for s in sums])
    return light if float(light.min()) > 1e-4 else None
