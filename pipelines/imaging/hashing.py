"""64-bit perceptual hashes of an image in its 8 poses, from one discrete cosine transform.

Source: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions" (pHash). It differs in two ways.
A bit is the *sign* of a coefficient, not its side of the median, and the 64 coefficients are those of lowest frequency
without the mean, a set that transposing maps onto itself. So mirroring flips the signs of odd columns, turning upside
down those of odd rows, transposing swaps rows with columns: the hashes of all 8 poses follow from one, exactly.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

POSES: Final = 8
"""Pose k mirrors left to right if k & 1, turns upside down if k & 2, and, before both, transposes if k & 4."""

BITS: Final = 64
_SIDE: Final = 32
_COARSEST: Final = 12
_FINEST: Final = 24
"""Detail is what has 12 to 24 half waves over the picture: a wave of 5 to 11 px at 64 px."""
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)


def _lowest() -> NDArray[np.intp]:
    """Return the (row, column) of the 64 lowest frequencies but the mean, (64, 2); transposing maps the set to itself."""
    grid = [(u, v) for u in range(12) for v in range(12) if u + v]
    return np.array(sorted(grid, key=lambda p: (p[0] ** 2 + p[1] ** 2, min(p), p))[:BITS])


def _middle() -> NDArray[np.intp]:
    """Return the (row, column) of the middle frequencies, (350, 2); transposing maps the set to itself."""
    radius = np.hypot(*np.mgrid[:_FINEST, :_FINEST])
    return np.argwhere((radius >= _COARSEST) & (radius < _FINEST))


PLACES: Final = _lowest()
DETAIL_PLACES: Final = _middle()


@lru_cache(maxsize=16)
def _transform(size: int) -> NDArray[np.float32]:
    """Return (24, size): averages `size` samples into 32 equal areas, then takes the first 24 cosine coefficients."""
    edges = np.linspace(0, size, _SIDE + 1)
    low = np.maximum(edges[:-1, None], np.arange(size)[None])
    high = np.minimum(edges[1:, None], np.arange(1, size + 1)[None])
    areas = np.maximum(high - low, 0) * (_SIDE / size)
    angles = np.pi / _SIDE * np.arange(_FINEST)[:, None] * (np.arange(_SIDE)[None] + 0.5)
    return (np.cos(angles) * np.sqrt(2 / _SIDE) @ areas).astype(np.float32)


def structures(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the low frequencies of the images' luma, float32 (N, 64), each of length 1 (0 for an image of one colour).

    Of length 1, so that neither brightness nor contrast matters. Images are uint8 (N, H, W, 3) of any size.
    """
    return _unit(_spectra(pixels)[:, PLACES[:, 0], PLACES[:, 1]])


def details(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the middle frequencies of the images' luma, float32 (N, 350), each of length 1 (0 where there are none).

    Two photos of different lesions may agree in structure; re-encoding, resizing and brightening leave detail as it was.
    """
    return _unit(_spectra(pixels)[:, DETAIL_PLACES[:, 0], DETAIL_PLACES[:, 1]])


def patterns(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what a picture shows whatever its colours: structure and detail side by side, float32 (N, 414).

    Both have the length sqrt(1/2), so that a cosine of patterns is the mean of the cosines of structure and of detail.
    Light, contrast and tint, which scale and shift the luma, leave it as it is.
    """
    spectra = _spectra(pixels)
    halves = [_unit(spectra[:, at[:, 0], at[:, 1]]) for at in (PLACES, DETAIL_PLACES)]
    return np.concatenate(halves, axis=1) * np.float32(np.sqrt(0.5))


def posed_patterns(pattern: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the patterns, (N, 414), of the same images in all poses, float32 (N, 8, 414)."""
    return np.stack([pattern[:, order] * sign for order, sign in map(_pattern_pose, range(POSES))], axis=1)


def _spectra(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows, columns = _transform(pixels.shape[1]), _transform(pixels.shape[2])
    spectra: NDArray[np.float32] = rows @ (pixels.astype(np.float32) @ _LUMA) @ columns.T
    return spectra


def _unit(found: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(found, axis=1, keepdims=True)
    # Under a hundredth of a grey level there is nothing but rounding.
    result: NDArray[np.float32] = np.where(length > 0.01 * _SIDE, found / np.maximum(length, 1e-9), 0)
    return result


def turned(structure: NDArray[np.float32], pose: int) -> NDArray[np.float32]:
    """Return the structures, (N, 64), of the same images in another pose."""
    order, sign = _pose(pose)
    result: NDArray[np.float32] = structure[:, order] * sign
    return result


@lru_cache(maxsize=POSES)
def _pose(pose: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the order (64,) and signs (64,) that turn a structure into that pose."""
    return _pose_of(PLACES, pose)


@lru_cache(maxsize=POSES)
def _pattern_pose(pose: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the order (414,) and signs (414,) that turn a pattern into that pose."""
    (low, low_sign), (middle, middle_sign) = _pose(pose), _pose_of(DETAIL_PLACES, pose)
    return np.concatenate([low, middle + len(PLACES)]), np.concatenate([low_sign, middle_sign])


def _pose_of(places: NDArray[np.intp], pose: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    place = {tuple(p): i for i, p in enumerate(places.tolist())}
    order = np.array([place[(v, u)] if pose & 4 else place[(u, v)] for u, v in places.tolist()])
    odd = (places[:, 1] % 2) * (pose & 1) + (places[:, 0] % 2) * (pose >> 1 & 1)
    return order, np.where(odd % 2, -1, 1).astype(np.float32)


def turn(pixels: NDArray[np.uint8], pose: int) -> NDArray[np.uint8]:
    """Return one image (H, W, 3) in a pose; `structures` of it is `turned` of its structure."""
    image = pixels.transpose(1, 0, 2) if pose & 4 else pixels
    image = image[::-1] if pose & 2 else image
    return image[:, ::-1] if pose & 1 else image


def hashes(structure: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return one 64-bit hash a structure, uint64 (N,): bit i is set where coefficient i is above 0.

    Coefficients are dealt out to the hash's four 16-bit words in turn, so that each word holds low and high frequencies
    and tells images apart about as well as the others.
    """
    dealt = np.concatenate([np.arange(word, BITS, 4) for word in range(4)])
    return np.packbits(np.ascontiguousarray(structure[:, dealt] > 0), axis=1).view(np.uint64)[:, 0].copy()
