"""Known defects, made of images that the gates were not calibrated on (copies: of training images)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipelines.embedding.corpus import Corpus
from pipelines.imaging.colour import linear_from_srgb8, srgb8_from_linear
from pipelines.imaging.hashing import POSES, turn
from pipelines.imaging.normalise import encode_png
from pipelines.imaging.tone import measure_ita
from pipelines.produce.calibrate import patients
from pipelines.produce.likeness import thumbnails
from schemas.words import ITA_BANDS_DEG, Lesion, Modality, Split

MOST = 80
"""Images of a kind of defect."""

Pixels = NDArray[np.uint8]
Stratum = tuple[int | None, Lesion, tuple[float, float] | None]
"""What was asked: skin type, lesion, ITA band."""


@dataclass(frozen=True)
class Case:
    """Images of one kind. `spoils` is the gate that has to find them; None: they are good."""

    name: str
    spoils: str | None
    pixels: Pixels
    asked: Sequence[Stratum]
    counts: bool = True  # in the gate's recall; else reported by itself
    files: Sequence[bytes] | None = None  # in place of what would be written
    beside: Pixels | None = None  # thumbnails of images kept already


def brighter(share: float) -> Callable[[Pixels], Pixels]:
    """Return a recolouring that multiplies sRGB values by 1 + share."""
    return lambda p: _clip(p * (1 + share))


def contrast(factor: float) -> Callable[[Pixels], Pixels]:
    """Return a recolouring that stretches about each image's mean."""
    return lambda p: _clip((p - p.mean(axis=(1, 2), keepdims=True)) * factor + p.mean(axis=(1, 2), keepdims=True))


def tinted(amount: float) -> Callable[[Pixels], Pixels]:
    """Return a recolouring that takes red up and blue down by a share, as a warm light does."""
    return lambda p: _clip(p * np.array([1 + amount, 1, 1 - amount]))


def darker_skin(melanin: float) -> Callable[[Pixels], Pixels]:
    """Return a recolouring that puts a filter over the skin: linear light times exp(-melanin x (0.5, 1, 1.6)) for R, G, B,
    roughly melanin's absorption. 0.5 takes a light skin to tan, 1.5 to dark."""
    filtered = np.exp(-melanin * np.array([0.5, 1.0, 1.6], np.float32))
    return lambda p: srgb8_from_linear(linear_from_srgb8(p) * filtered)


def swapped(p: Pixels) -> Pixels:
    """Return the images with red, green and blue exchanged: nothing of the colour is left."""
    return np.ascontiguousarray(p[..., [2, 0, 1]])


RECOLOURED: dict[str, Callable[[Pixels], Pixels]] = {
    "brightness +10%": brighter(0.1), "brightness +25%": brighter(0.25), "brightness -30%": brighter(-0.3),
    "brightness -60%": brighter(-0.6), "contrast x0.8": contrast(0.8), "contrast x0.5": contrast(0.5),
    "contrast x1.3": contrast(1.3), "tint 10%": tinted(0.1), "tint 30%": tinted(0.3),
    "skin darker 0.5": darker_skin(0.5), "skin darker 1.0": darker_skin(1.0), "skin darker 1.5": darker_skin(1.5),
    "skin lighter 0.5": darker_skin(-0.5), "grey": lambda p: np.repeat(_clip(p.mean(axis=-1, keepdims=True)), 3, axis=-1),
    "channels swapped": swapped, "inverted": lambda p: 255 - p,
}  # fmt: skip
"""Recolourings of copies, each also put into one of the 8 poses."""


def scrambled(p: Pixels) -> Pixels:
    """Return the images cut into 4 x 4 tiles and put together in another order."""
    n, side = len(p), p.shape[1] // 4
    tiles = p.reshape(n, 4, side, 4, side, 3).swapaxes(2, 3).reshape(n, 16, side, side, 3)
    tiles = tiles[:, np.random.default_rng(1).permutation(16)]
    return np.ascontiguousarray(tiles.reshape(n, 4, 4, side, side, 3).swapaxes(2, 3).reshape(p.shape))


STRANGERS: dict[str, Callable[[Pixels], Pixels]] = {
    "scrambled": scrambled,
    "noise 60": lambda p: _clip(p + np.random.default_rng(2).normal(0, 60, p.shape)),
    "noise 20": lambda p: _clip(p + np.random.default_rng(3).normal(0, 20, p.shape)),
    "blurred 3 px": lambda p: gaussian_filter(p, (0, 3, 3, 0)),
    "inverted colours": lambda p: 255 - p,
    "two images mixed": lambda p: ((p.astype(np.int16) + p[::-1]) // 2).astype(np.uint8),
}
"""What is no picture of skin any more, from what anybody sees to what nobody would."""


def cases(corpus: Corpus) -> Iterator[Case]:
    """Yield the good test images and every kind of defect."""
    test, train = corpus.split(Split.TEST), corpus.split(Split.TRAIN)
    first = np.array([int(whose.encode().hex(), 16) % 2 == 0 for whose in patients(test.rows)], dtype=bool)
    good, base = test.where(first), test.where(~first).where(np.arange((~first).sum()) < 4 * MOST)
    bands = _bands(train)
    asked = _asked(base, bands)
    yield Case("good", None, good.pixels, _asked(good, bands), beside=thumbnails(base.pixels))
    few, few_asked = base.pixels[:MOST], asked[:MOST]
    files = [_damaged(encode_png(image), i) for i, image in enumerate(few)]
    yield Case("damaged files", "decodable", few, few_asked, files=files)
    yield Case("blank", "blank", _blank(few), few_asked)
    yield from _wrong_requests(base, bands)
    strangers = {name: Case(name, "outlier", make(few), few_asked) for name, make in STRANGERS.items()}
    yield from strangers.values()
    yield from _copies(train, bands)
    yield from _duplicates(few, few_asked)


def _wrong_requests(base: Corpus, bands: dict[Any, tuple[float, float]]) -> Iterator[Case]:
    rows = base.rows
    known = [(i, r) for i, r in enumerate(rows) if r.fst][:MOST]
    if known:
        tone = [i for i, _ in known]
        strata: list[Stratum] = []
        for _, row in known:
            other = (row.fst or 0) + (3 if (row.fst or 0) <= 3 else -3)
            strata.append((other, row.lesion, _band(row.modality, other, row.lesion, bands)))
        yield Case("3 skin types off, for tone", "tone", base.pixels[tone], strata)
        yield Case("3 skin types off, for the probe", "tone_probe", base.pixels[tone], strata)
    lesions = sorted({r.lesion for r in rows})
    rng = np.random.default_rng(4)
    wrong = [str(rng.choice([x for x in lesions if x != r.lesion])) for r in rows[: 2 * MOST]]
    strata = [(r.fst, Lesion(w), _band(r.modality, r.fst, r.lesion, bands)) for r, w in zip(rows, wrong, strict=False)]
    yield Case("another lesion", "lesion", base.pixels[: 2 * MOST], strata)


def _copies(train: Corpus, bands: dict[Any, tuple[float, float]]) -> Iterator[Case]:
    """Yield training images as they are and in 7 other poses, and a sample of them recoloured."""
    train = train.where(np.arange(len(train)) < 4 * MOST)
    asked = _asked(train, bands)
    for pose in range(POSES):
        yield Case(f"copy, pose {pose}", "copy", np.stack([turn(p, pose) for p in train.pixels]), asked)
    some = np.random.default_rng(5).permutation(len(train))[: 2 * MOST]
    for name, recolour in RECOLOURED.items():
        turned = np.stack([turn(p, int(i) % POSES) for p, i in zip(recolour(train.pixels[some]), some, strict=True)])
        yield Case(f"copy, {name}", "copy", turned, [asked[i] for i in some], counts=False)


def _duplicates(few: Pixels, asked: Sequence[Stratum]) -> Iterator[Case]:
    kept = thumbnails(few)
    noise = np.random.default_rng(6).normal(0, 2, few.shape)
    turned = np.stack([turn(p, 1 + i % 7) for i, p in enumerate(few)])
    for name, pixels in (("repeated", few), ("repeated, turned", turned), ("repeated, noise 2", _clip(few + noise))):
        yield Case(name, "duplicate", pixels, asked, beside=kept)


def _blank(like: Pixels) -> Pixels:
    """Return flat, nearly flat and burnt-out pictures in turn."""
    rng = np.random.default_rng(7)
    made = np.empty_like(like)
    for i, image in enumerate(like):
        flat = np.broadcast_to(image.mean(axis=(0, 1)), image.shape)
        burnt = np.where(np.arange(len(image))[:, None, None] < len(image) * 0.6, 255, image)
        made[i] = _clip((flat, flat + rng.normal(0, 2, image.shape), burnt)[i % 3])
    return made


def _damaged(data: bytes, i: int) -> bytes:
    """Return a file cut off, or with a byte of its pixels changed."""
    if i % 2:
        return data[: len(data) // 2]
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def _asked(corpus: Corpus, bands: dict[Any, tuple[float, float]]) -> list[Stratum]:
    return [(r.fst, r.lesion, _band(r.modality, r.fst, r.lesion, bands)) for r in corpus.rows]


def _band(modality: Modality, fst: int | None, lesion: Lesion, bands: dict[Any, Any]) -> tuple[float, float] | None:
    """Return the band as stratify gives it: by definition on phantoms, else 5-95% of the stratum's real images."""
    return ITA_BANDS_DEG.get(fst or 0) if modality is Modality.PHANTOM else bands.get((fst, lesion))


def _bands(train: Corpus) -> dict[Any, tuple[float, float]]:
    found: dict[Any, list[float]] = {}
    for row, image in zip(train.rows, train.pixels, strict=True):
        deg = measure_ita(image).deg
        if row.fst and deg is not None:
            found.setdefault((row.fst, row.lesion), []).append(deg)
    return {k: (float(np.quantile(v, 0.05)), float(np.quantile(v, 0.95))) for k, v in found.items()}


def _clip(values: NDArray[Any]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
