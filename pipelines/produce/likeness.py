"""How alike two images are, whatever way round they lie: 16x16 thumbnails and a 64-bit difference hash over 8 poses.

Both are made from the same thumbnail, so 768 bytes an image are enough to compare it with every other.
A difference hash alone is no proof of sameness here: at 64 px skin is smooth, and two different images with a lesion in
the same place share most bits. It is always used together with the thumbnails' distance.
Source of the hash: Krawetz 2013, "Kind of Like That" (dHash); it differs in being taken from area averages.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIDE: Final = 16
POSES: Final = 8
"""Four quarter turns, each also mirrored."""

Thumbs = NDArray[np.uint8]
_LUMA: Final = np.array([0.299, 0.587, 0.114])


@lru_cache(maxsize=16)
def _area_weights(size: int, cells: int) -> NDArray[np.float64]:
    """Return (cells, size) weights that average `size` samples into `cells` equal areas; rows sum to 1."""
    edges = np.linspace(0, size, cells + 1)
    low = np.maximum(edges[:-1, None], np.arange(size)[None])
    high = np.minimum(edges[1:, None], np.arange(1, size + 1)[None])
    weights: NDArray[np.float64] = np.maximum(high - low, 0) * (cells / size)
    return weights


def thumbnails(pixels: NDArray[np.uint8]) -> Thumbs:
    """Return area-averaged thumbnails, uint8 (N, 16, 16, 3), of images uint8 (N, H, W, 3)."""
    rows = _area_weights(pixels.shape[1], SIDE)
    columns = _area_weights(pixels.shape[2], SIDE)
    small = np.einsum("ih,nhwc,jw->nijc", rows, pixels.astype(np.float64), columns, optimize=True)
    # contiguous: einsum may hand back transposed memory, which safetensors would write as it lies
    return np.ascontiguousarray(np.rint(small).astype(np.uint8))


def poses(thumbs: Thumbs) -> Thumbs:
    """Return the 8 flips and quarter turns of each thumbnail, uint8 (N, 8, 16, 16, 3); the first is the thumbnail."""
    turned = [np.rot90(thumbs, k, axes=(1, 2)) for k in range(4)]
    return np.stack(turned + [t[:, :, ::-1] for t in turned], axis=1)


def pixel_distances(thumbs: Thumbs, others: Thumbs) -> NDArray[np.float64]:
    """Return (N, M) mean absolute differences, 0-255, between thumbnails in the pose of each pair that fits best."""
    from scipy.spatial.distance import cdist

    if not len(thumbs) or not len(others):
        return np.full((len(thumbs), len(others)), np.inf)
    flat = poses(thumbs).reshape(len(thumbs) * POSES, -1).astype(np.float64)
    against = others.reshape(len(others), -1).astype(np.float64)
    distances = cdist(flat, against, "cityblock") / flat.shape[1]
    best: NDArray[np.float64] = distances.reshape(len(thumbs), POSES, len(others)).min(axis=1)
    return best


def difference_hashes(thumbs: Thumbs) -> NDArray[np.bool_]:
    """Return 64 bits an image, bool (N, 64): whether each cell of an 8x8 grid is darker than its right neighbour."""
    grey = thumbs.astype(np.float64) @ _LUMA
    cells = np.einsum("ih,nhw,jw->nij", _area_weights(SIDE, 8), grey, _area_weights(SIDE, 9), optimize=True)
    return (cells[:, :, 1:] > cells[:, :, :-1]).reshape(len(thumbs), 64)


def hash_distances(thumbs: Thumbs, others: Thumbs) -> NDArray[np.float64]:
    """Return (N, M) differing hash bits, 0-64, in the pose of each pair that fits best."""
    if not len(thumbs) or not len(others):
        return np.full((len(thumbs), len(others)), np.inf)
    turned = difference_hashes(poses(thumbs).reshape(-1, SIDE, SIDE, 3)).astype(np.float64)
    fixed = difference_hashes(others).astype(np.float64)
    # bits that differ between 0/1 vectors a, b: |a| + |b| - 2 a.b
    bits = turned.sum(1)[:, None] + fixed.sum(1)[None] - 2 * turned @ fixed.T
    best: NDArray[np.float64] = np.rint(bits).reshape(len(thumbs), POSES, len(others)).min(axis=1)
    return best


def turned_hashes(thumbs: Thumbs) -> NDArray[np.uint64]:
    """Return the difference hashes of each thumbnail in its 8 poses as numbers, uint64 (N, 8); the first as it lies."""
    bits = difference_hashes(poses(thumbs).reshape(-1, SIDE, SIDE, 3))
    return np.packbits(bits, axis=1).view(np.uint64).reshape(len(thumbs), POSES)


def ring_means(thumbs: Thumbs) -> NDArray[np.float32]:
    """Return where each thumbnail lies among others whatever its pose, float32 (N, 12): colour of 4 square rings.

    A pose moves no cell to another ring. Each ring's mean is scaled by the ring's share of the thumbnail, so that the
    cityblock distance of two points is at most the thumbnails' `pixel_distances`: |mean a - mean b| <= mean |a - b|.
    Points far apart are therefore different pictures; points nearby have to be compared.
    """
    flat = thumbs.reshape(len(thumbs), SIDE * SIDE, 3).astype(np.float32)
    means: NDArray[np.float32] = np.einsum("rk,nkc->nrc", _RINGS, flat).reshape(len(thumbs), -1)
    return means


def _ring_weights() -> NDArray[np.float32]:
    """Return (4, 256): which cells of a thumbnail each ring, 2 cells wide, is made of, over the number of values."""
    out = np.abs(np.arange(SIDE) - (SIDE - 1) / 2).astype(int)
    ring = np.maximum(out[:, None], out[None]).reshape(-1) // 2
    return ((ring[None] == np.arange(4)[:, None]) / (SIDE * SIDE * 3)).astype(np.float32)


_RINGS: Final = _ring_weights()
RING_ERROR: Final = 0.01
"""More than float32 sums can be off by, in levels of 255."""
