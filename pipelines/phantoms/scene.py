"""One phantom: skin, lesion, hair, light and camera, from a seed and an index alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipelines.imaging.colour import srgb8_from_linear
from pipelines.phantoms.fields import Grid, curves, grid, noise
from pipelines.phantoms.lesions import PAINTERS, Paint
from pipelines.phantoms.optics import Illuminant, ita_of, melanin_for_ita, skin_rgb
from schemas.source_params import PhantomSource
from schemas.words import Lesion

VERSION: Final = 1
"""Raised whenever the same seed draws other pixels; part of the source's fingerprint."""

Float = NDArray[np.float32]

ITA_DRAWN_DEG: Final[dict[int, tuple[float, float]]] = {
    1: (57.0, 70.0),
    2: (43.0, 53.0),
    3: (30.0, 39.0),
    4: (12.0, 26.0),
    5: (-26.0, 7.0),
    6: (-55.0, -34.0),
}
"""Range the skin's true ITA is drawn from: inside the FST's band (`schemas.words.ITA_BANDS_DEG`) by 2 degrees or more."""

SITES: Final = ("face", "forearm", "back", "chest", "thigh", "hand", "neck")


@dataclass(frozen=True)
class Phantom:
    """A drawn skin image with its exact truth."""

    pixels: NDArray[np.uint8]  # (r, r, 3) sRGB
    mask: NDArray[np.bool_]  # (r, r), the lesion
    fst: int
    lesion: Lesion
    ita_deg: float  # of the even skin under D65, before light and camera
    patient: str
    lesion_id: str
    site: str
    age: int
    sex: str


@dataclass(frozen=True)
class Camera:
    """Light and camera of one picture."""

    illuminant: Illuminant
    adaptation: float
    exposure: float
    gradient: float
    vignette: float
    rim: bool


def draw(source: PhantomSource, index: int) -> Phantom:
    """Return phantom `index` of a source; the same for the same (seed, index, resolution) on every machine.

    FST and lesion follow the source's shares; pictures come in runs of up to three of one patient (same skin type).

    Raises:
        IndexError: index is outside range(source.count).
    """
    if not 0 <= index < source.count:
        raise IndexError(f"phantom {index}: the source draws {source.count}; ask for 0 to {source.count - 1}")
    patient, fst, ita_deg, blood, sex, age = _patients(source)[index]
    rng = np.random.default_rng([source.seed, index, VERSION])
    lesion = list(source.lesion_shares)[
        rng.choice(len(source.lesion_shares), p=_normalised(source.lesion_shares.values()))
    ]
    pixels, mask = render(rng, lesion, ita_deg, blood, source.resolution)
    melanin = melanin_for_ita(ita_deg, blood)
    return Phantom(
        pixels, mask, fst, lesion, ita_of(melanin, blood), f"phantom-patient-{patient}", f"phantom-lesion-{index}",
        str(rng.choice(SITES)), age, sex,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _patients_cached(seed: int, count: int, shares: tuple[float, ...]) -> list[tuple[int, int, float, float, str, int]]:
    rng = np.random.default_rng([seed, 0xFACE, VERSION])
    people: list[tuple[int, int, float, float, str, int]] = []
    patient = 0
    while len(people) < count:
        fst = int(rng.choice(6, p=_normalised(shares))) + 1
        person = (patient, fst, float(rng.uniform(*ITA_DRAWN_DEG[fst])), float(rng.uniform(0.012, 0.04)))
        traits = (str(rng.choice(["female", "male"])), int(rng.integers(18, 90)))
        people.extend([(*person, *traits)] * int(rng.integers(1, 4)))
        patient += 1
    return people[:count]


def _patients(source: PhantomSource) -> list[tuple[int, int, float, float, str, int]]:
    return _patients_cached(source.seed, source.count, source.fst_shares)


def _normalised(shares: object) -> NDArray[np.float64]:
    values = np.array(list(shares), np.float64)  # type: ignore[call-overload]
    return np.asarray(values / values.sum())


def render(
    rng: Generator, lesion: Lesion, ita_deg: float, blood: float, resolution: int, camera: Camera | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return (sRGB pixels (r, r, 3), lesion mask (r, r)) of one lesion on skin of the given ITA in degrees.

    Drawn at twice the resolution and averaged in linear light.
    """
    g = grid(resolution * 2)
    paint = PAINTERS[lesion](rng, g)
    shot = camera or _camera(rng)
    linear = _skin(rng, g, paint, melanin_for_ita(ita_deg, blood), blood, shot)
    linear = _hair(rng, g, linear) * _light(rng, g, shot)[..., None]
    halved = linear.reshape(resolution, 2, resolution, 2, 3).mean(axis=(1, 3))
    halved += rng.normal(0, 0.003, halved.shape) * np.sqrt(np.clip(halved, 0.01, 1))
    mask = paint.coverage.reshape(resolution, 2, resolution, 2).mean(axis=(1, 3)) > 0.5
    return srgb8_from_linear(halved.astype(np.float32)), mask


def _camera(rng: Generator) -> Camera:
    illuminants: tuple[Illuminant, ...] = ("D65", "D50", "LED", "A")
    return Camera(
        illuminant=illuminants[int(rng.choice(4, p=[0.6, 0.25, 0.1, 0.05]))],
        adaptation=float(rng.choice([1.0, 0.99, 0.98])),
        exposure=float(rng.normal(1, 0.012)),
        gradient=float(abs(rng.normal(0, 0.06))),
        vignette=float(rng.uniform(0, 0.3)),
        rim=bool(rng.uniform() < 0.12),
    )


def _skin(rng: Generator, g: Grid, paint: Paint, melanin: float, blood: float, shot: Camera) -> Float:
    """Return linear RGB of skin and lesion under the shot's illuminant, evenly lit."""
    mottle = np.exp(0.05 * noise(rng, g.size, 5) + 0.04 * noise(rng, g.size, 28))
    flush = np.exp(0.15 * noise(rng, g.size, 4) + 0.12 * noise(rng, g.size, 40))
    melanin_map = melanin * mottle * paint.melanin_kept + paint.melanin
    blood_map = blood * flush + paint.blood
    linear = skin_rgb(melanin_map.astype(np.float32), blood_map.astype(np.float32), shot.illuminant, shot.adaptation)
    veil = np.clip(paint.veil, 0, 1)[..., None]
    linear = linear * (1 - veil) + paint.veil_rgb * veil
    furrows = 0.25 * np.abs(noise(rng, g.size, 26)) + gaussian_filter(paint.relief, 1.5)
    slope = np.gradient(furrows.astype(np.float32), axis=1) * 0.5 + np.gradient(furrows.astype(np.float32), axis=0)
    shade = np.clip(1 - rng.uniform(0.25, 0.7) * slope, 0.7, 1.35)
    return np.asarray(linear * shade[..., None], np.float32)


def _hair(rng: Generator, g: Grid, linear: Float) -> Float:
    """Return the picture with hairs over it (on 45% of pictures, 1-9 of one colour)."""
    if rng.uniform() > 0.45:
        return linear
    cover = curves(rng, g.size, int(rng.integers(1, 10)), (0.012, 0.03), 1.5, (0.0, 0.0)) * rng.uniform(0.6, 0.95)
    colour = np.array([0.022, 0.015, 0.010], np.float32) * rng.choice([1, 1, 1, 4, 12])
    return np.asarray(linear * (1 - cover[..., None]) + colour * cover[..., None], np.float32)


def _light(rng: Generator, g: Grid, shot: Camera) -> Float:
    """Return the factor of uneven light, vignette and (rarely) the black rim of a dermoscope, shape (size, size)."""
    turn = rng.uniform(0, 2 * np.pi)
    even = shot.exposure * (1 + shot.gradient * (g.x * np.cos(turn) + g.y * np.sin(turn)))
    radius = np.hypot(g.x, g.y)
    even *= 1 - shot.vignette * np.clip(radius - 0.55, 0, None) ** 2
    if shot.rim:
        even *= 1 / (1 + np.exp(np.clip((radius - 1.12) * 40, -30, 30)))
    return np.asarray(even, np.float32)
