"""Smooth random fields and curves on a square grid: the brushes that lesions and scenes are painted with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import zoom

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a square picture; x to the right, y down, the half width is 1."""

    size: int
    x: Float
    y: Float


@lru_cache(maxsize=4)
def grid(size: int) -> Grid:
    """Return the grid of a `size` x `size` px picture."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return Grid(size, x, y)


def noise(rng: Generator, size: int, cells: int) -> Float:
    """Return smooth noise with zero mean, unit variance and about `cells` features across, shape (size, size)."""
    coarse = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    fine = zoom(coarse, size / cells, order=2 if cells < 24 else 1)[:size, :size]
    return np.asarray((fine - fine.mean()) / (fine.std() + 1e-6), np.float32)


def blob(
    rng: Generator, g: Grid, radius: float, wobble: float, aspect: float, edge: float
) -> tuple[Float, Float, Float]:
    """Return (coverage 0-1, distance from the centre over the local radius, angle in radians) of an irregular disc.

    Args:
        radius: mean radius, half widths.
        wobble: standard deviation of each border harmonic (2-7), relative to the radius.
        aspect: short axis over long axis.
        edge: width of the soft border, half widths.
    """
    cx, cy = rng.uniform(-0.12, 0.12, 2)
    turn = rng.uniform(0, np.pi)
    dx, dy = g.x - cx, g.y - cy
    u = dx * np.cos(turn) + dy * np.sin(turn)
    v = (-dx * np.sin(turn) + dy * np.cos(turn)) / aspect
    angle = np.arctan2(v, u)
    border = np.ones_like(angle)
    for harmonic in range(2, 8):
        border += rng.normal(0, wobble / np.sqrt(harmonic - 1)) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    relative = np.hypot(u, v) / (radius * np.clip(border, 0.35, 1.9))
    coverage = 1 / (1 + np.exp(np.clip((relative - 1) * radius / edge * 4, -30, 30)))
    return coverage.astype(np.float32), relative.astype(np.float32), angle.astype(np.float32)


def spots(rng: Generator, g: Grid, inside: Float, count: int, radius: tuple[float, float]) -> Float:
    """Return coverage 0-1 of `count` small soft discs whose centres lie where `inside` > 0.5."""
    result = np.zeros_like(inside)
    where = np.argwhere(inside > 0.5)
    if len(where) == 0:
        return result
    for row, column in where[rng.integers(len(where), size=count)]:
        r = rng.uniform(*radius)
        distance = np.hypot(g.x - g.x[row, column], g.y - g.y[row, column])
        np.maximum(result, 1 / (1 + np.exp(np.clip((distance - r) / r * 6, -30, 30))), out=result)
    return result.astype(np.float32)


def curves(
    rng: Generator, size: int, count: int, width: tuple[float, float], span: float, centre: tuple[float, float]
) -> Float:
    """Return coverage 0-1 of `count` thin bent lines of length about `span` half widths, drawn with anti-aliasing.

    Args:
        width: least and greatest line width, half widths.
        centre: where the lines are gathered, half widths.
    """
    scale = 2
    canvas = Image.new("L", (size * scale, size * scale))
    pen = ImageDraw.Draw(canvas)
    t = np.linspace(0, 1, 14)[:, None]
    for _ in range(count):
        start = np.array(centre) + rng.normal(0, span * 0.35, 2)
        heading = rng.uniform(0, 2 * np.pi)
        step = span * np.array([np.cos(heading), np.sin(heading)])
        bend = rng.normal(0, span * 0.25, 2)
        points = (1 - t) ** 2 * (start - step / 2) + 2 * t * (1 - t) * (start + bend) + t**2 * (start + step / 2)
        pixels = [(float(px), float(py)) for px, py in (points + 1) / 2 * size * scale]
        pen.line(pixels, fill=255, width=max(1, round(rng.uniform(*width) / 2 * size * scale)), joint="curve")
    small = canvas.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)
