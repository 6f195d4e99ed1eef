"""Colour difference CIEDE2000: how far apart two colours look."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def ciede2000(one: Floats, other: Floats) -> NDArray[np.float64]:
    """Return the CIEDE2000 difference (...,) of CIELAB colours (..., 3); about 1 is just noticeable. Symmetric.

    CIE 142:2001 with k_L = k_C = k_H = 1, after Sharma, Wu & Dalal (2005), whose 34 pairs test it. Not a metric: the
    triangle inequality does not hold, and above 5 it says little.
    """
    light, a, b = np.moveaxis(np.stack(np.broadcast_arrays(one, other)).astype(np.float64), -1, 0)
    mean_chroma = np.hypot(a, b).mean(axis=0)
    a = a * (1.5 - 0.5 * np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7)))
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
    product, mean_light, mean_chroma = chroma.prod(axis=0), light.mean(axis=0), chroma.mean(axis=0)
    step = hue[1] - hue[0]
    step = np.where(product == 0, 0, (step + 180) % 360 - 180)
    mean_hue = _mean_hue(hue, product)
    d_light, d_chroma = light[1] - light[0], chroma[1] - chroma[0]
    d_hue = 2 * np.sqrt(product) * np.sin(np.radians(step / 2))
    weight = (
        1
        - 0.17 * np.cos(np.radians(mean_hue - 30))
        + 0.24 * np.cos(np.radians(2 * mean_hue))
        + 0.32 * np.cos(np.radians(3 * mean_hue + 6))
        - 0.20 * np.cos(np.radians(4 * mean_hue - 63))
    )
    away = (mean_light - 50) ** 2
    in_light = d_light / (1 + 0.015 * away / np.sqrt(20 + away))
    in_chroma = d_chroma / (1 + 0.045 * mean_chroma)
    in_hue = d_hue / (1 + 0.015 * mean_chroma * weight)
    turn = 2 * np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7))
    turn = -turn * np.sin(np.radians(60 * np.exp(-(((mean_hue - 275) / 25) ** 2))))
    return np.asarray(np.sqrt(in_light**2 + in_chroma**2 + in_hue**2 + turn * in_chroma * in_hue))


def _mean_hue(hue: NDArray[np.float64], product: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of two hues (2, ...) in degrees, the short way round; the sum where one colour is grey."""
    total = hue.sum(axis=0)
    far = np.abs(hue[0] - hue[1]) > 180
    wrapped = np.where(total < 360, total + 360, total - 360)
    return np.asarray(np.where(product == 0, total, np.where(far, wrapped, total) / 2))
