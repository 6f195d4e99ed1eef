"""sRGB, CIE XYZ and CIELAB, vectorised; float32 in, float32 out.

IEC 61966-2-1 (sRGB) and CIE 15:2004 (CIELAB); reference white D65, 2 degree observer.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

WHITE_D65: Final = np.array([0.95047, 1.0, 1.08883], np.float32)
XYZ_FROM_RGB: Final = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    np.float32,
)
_RATIO_FROM_RGB: Final = XYZ_FROM_RGB.T / WHITE_D65
RGB_FROM_XYZ: Final = np.linalg.inv(XYZ_FROM_RGB).astype(np.float32)

_LINEAR: Final = np.where(
    np.arange(256) / 255 <= 0.04045, np.arange(256) / 255 / 12.92, ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4
).astype(np.float32)


def linear_from_srgb8(pixels: NDArray[np.uint8]) -> Float:
    """Return linear RGB in [0, 1] for 8-bit sRGB of any shape (a table look-up)."""
    return _LINEAR.take(pixels)


def srgb8_from_linear(linear: Float) -> NDArray[np.uint8]:
    """Return 8-bit sRGB for linear RGB of any shape; values outside [0, 1] are clipped."""
    clipped = np.clip(linear, 0, 1)
    encoded = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def lab_from_linear(linear: Float) -> Float:
    """Return CIELAB (L* 0-100, a*, b*) for linear RGB of shape (..., 3)."""
    return np.moveaxis(lab_planes(linear), 0, -1).copy()


def lab_planes(linear: Float) -> Float:
    """Return what `lab_from_linear` does as three planes, (3, ...): a median of one coordinate reads it in one piece."""
    ratio = linear @ _RATIO_FROM_RGB
    cube = np.cbrt(ratio)
    dark = ratio <= 216 / 24389
    if dark.any():
        cube[dark] = (24389 / 27 * ratio[dark] + 16) / 116
    x, y, z = np.moveaxis(cube, -1, 0).copy()
    planes = np.empty((3, *y.shape), np.float32)
    np.subtract(116 * y, 16, out=planes[0, ...])
    np.multiply(500, x - y, out=planes[1, ...])
    np.multiply(200, y - z, out=planes[2, ...])
    return planes


def ita_from_lab(lab: Float) -> Float:
    """Return the individual typology angle in degrees, (-90, 90].

    ITA = arctan((L* - 50) / b*) x 180/pi (Chardon, Cretois & Hourseau 1991). Skin has b* > 0; where b* <= 0 (a strong
    blue cast) the angle is the limit +-90 by the sign of L* - 50, so that it stays monotone in L*.
    """
    return np.degrees(np.arctan2(lab[..., 0] - 50, np.maximum(lab[..., 2], 1e-3))).astype(np.float32)
