"""Whether two images with near hashes are the same picture: their low frequencies, then their detail and features.

A hash of 64 bits is no proof here: dermoscopic pictures are a dark round patch in the middle of pink, and of
HAM10000's pairs of *different* lesions 5 in 10,000 are within 10 bits. What is compared is always the pose that fits best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.dedupe.search import Near, near_pairs
from pipelines.imaging.hashing import POSES, hashes, turn, turned
from schemas.params import DedupeParams

AT_ONCE: Final = 1 << 16
"""Pairs whose structures are compared at once."""

IMAGES_AT_ONCE: Final = 128

_PAIR: Final = np.dtype(
    [("a", np.int32), ("b", np.int32), ("pose", np.int8), ("bits", np.int8), ("structure", np.float32)]
)
Pairs = NDArray[np.void]
"""Structured array (M,): a, b (a < b), pose, bits, structure."""


def candidates(structure: NDArray[np.float32], params: DedupeParams) -> Pairs:
    """Return the pairs near in hash and structure, each once in the pose that fits best, sorted by (a, b).

    `structure` is (N, 64). Images of one colour have none and are not compared.
    """
    posed = np.stack([hashes(turned(structure, pose)) for pose in range(POSES)])
    blank: NDArray[np.bool_] = np.linalg.norm(structure, axis=1) == 0
    found: Pairs = np.empty(0, _PAIR)
    waiting: list[Pairs] = []
    for near in near_pairs(posed, params.hash_bits):
        alike = _alike(near, structure, params.min_structure)
        alike = alike[~blank[alike["a"]] & ~blank[alike["b"]]]
        if len(alike):
            waiting.append(alike)
        if sum(map(len, waiting)) > max(AT_ONCE, len(found)):
            found, waiting = _best(np.concatenate([found, *waiting])), []
    return _best(np.concatenate([found, *waiting]))


def _alike(near: Near, structure: NDArray[np.float32], least: float) -> Pairs:
    pairs: Pairs = np.empty(len(near), _PAIR)
    pairs["a"], pairs["b"], pairs["pose"], pairs["bits"] = near.a, near.b, near.pose, near.bits
    for start in range(0, len(pairs), AT_ONCE):
        part = pairs[start : start + AT_ONCE]
        pose = int(part["pose"][0])  # near_pairs yields one pose at a time
        part["structure"] = (turned(structure[part["a"]], pose) * structure[part["b"]]).sum(axis=1)
    return pairs[pairs["structure"] >= least]


def _best(pairs: Pairs) -> Pairs:
    """Return each pair once: the pose of highest structure, ties to the lower pose."""
    order = np.lexsort((pairs["pose"], -pairs["structure"], pairs["b"], pairs["a"]))
    pairs = pairs[order]
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs["a"][1:] != pairs["a"][:-1]) | (pairs["b"][1:] != pairs["b"][:-1])
    return pairs[first]


@dataclass(frozen=True)
class _Needed:
    """The images to be looked at: (place, pose) pairs, coded as place * 8 + pose, sorted."""

    codes: NDArray[np.int64]

    def at(self, place: NDArray[np.int64], pose: NDArray[np.int64]) -> NDArray[np.intp]:
        return np.searchsorted(self.codes, place * POSES + pose)


Vectors = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""What turns images (N, H, W, 3) into vectors (N, dim): `details`, or an extractor."""


def cosines(pairs: Pairs, images: Iterable[tuple[int, NDArray[np.uint8]]], vectors: Vectors) -> NDArray[np.float32]:
    """Return the cosine of each pair's vectors in its pose, float32 (M,).

    `images` yields (place, pixels) for at least the images of the pairs; the others pass by. Memory grows with the
    images that are in a pair (features: 2.5 kB each in each pose), not with the number of pixels.
    """
    a, b, pose = (pairs[name].astype(np.int64) for name in ("a", "b", "pose"))
    needed = _Needed(np.unique(np.concatenate([a * POSES + pose, b * POSES])))
    found = np.zeros((0, 0), np.float16)
    for slots, batch in _batches(needed, images):
        seen = vectors(batch)
        if not len(found):
            found = np.zeros((len(needed.codes), seen.shape[1]), np.float16)
        found[slots] = seen / np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-9)
    return _cosines(found, needed.at(a, pose), needed.at(b, np.zeros_like(b)))


def _cosines(vectors: NDArray[np.float16], left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.float32]:
    result = np.empty(len(left), np.float32)
    for start in range(0, len(left), 4096):
        part = slice(start, start + 4096)
        result[part] = (vectors[left[part]].astype(np.float32) * vectors[right[part]]).sum(axis=1)
    return result


def _batches(
    needed: _Needed, images: Iterable[tuple[int, NDArray[np.uint8]]]
) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    slots: list[int] = []
    waiting: list[NDArray[np.uint8]] = []
    for place, pixels in images:
        low, high = np.searchsorted(needed.codes, [place * POSES, place * POSES + POSES])
        for slot in range(int(low), int(high)):
            slots.append(slot)
            waiting.append(turn(pixels, int(needed.codes[slot]) % POSES))
        if len(slots) >= IMAGES_AT_ONCE:
            yield slots, np.stack(waiting)
            slots, waiting = [], []
    if slots:
        yield slots, np.stack(waiting)


def undecided(
    detail: NDArray[np.float32], drawn: NDArray[np.bool_], series: NDArray[np.bool_], params: DedupeParams
) -> NDArray[np.bool_]:
    """Return the pairs, (M,), whose features can matter: see `same_picture`. Features cost most of the time."""
    return ((detail >= params.same_detail) | ~drawn) & ~series


def same_picture(
    detail: NDArray[np.float32], similarity: NDArray[np.float32], drawn: NDArray[np.bool_], params: DedupeParams
) -> NDArray[np.bool_]:
    """Return which pairs, (M,), are the same picture, by the cosines of their detail and features (NaN: not looked at).

    All have a structure of `min_structure` or more. Either the detail is the same and the features do not contradict it
    (turned, re-encoded, resized, brightened), or the features are the same (cropped, which moves detail out of place).
    The second does not hold for pairs that are `drawn`: the extractor finds phantoms of one renderer alike. The bounds
    were chosen on real images: docs/log.md.
    """
    same = (detail >= params.same_detail) & (similarity >= params.min_similarity)
    return same | ((similarity >= params.same_similarity) & ~drawn)
