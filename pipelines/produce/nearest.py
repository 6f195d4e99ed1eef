"""The nearest of many real images: exact, but looking closely only at what a cheaper look has left."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.produce.likeness import RING_ERROR, pixel_distances, ring_means

AT_ONCE: Final = 8192
"""Real images compared at once, so that memory does not grow with their number."""

CLOSELY: Final = 32
"""Thumbnails compared pixel by pixel at once."""

NONE: Final = -1
Floats = NDArray[np.float64]
Own = NDArray[np.bool_]
"""(N, M): pairs that do not count, because both images are of one patient."""


class Nearest(NamedTuple):
    """Of each image (N,): the distance to the nearest other and its place; inf and -1 where there is none."""

    distance: Floats
    place: NDArray[np.intp]


def nearest_vectors(
    posed: NDArray[np.float32],
    others: NDArray[np.float32],
    *,
    scale: NDArray[np.float64] | None = None,
    own: Own | None = None,
) -> Nearest:
    """Return the nearest by Euclidean distance between vectors of length 1, 0-2, in the best of P poses.

    Ranked in float32 by cosine; the nearest is then measured again in float64, so that a copy is at exactly 0 and the
    batch does not show.

    Args:
        posed: (N, P, D).
        others: (M, D).
        scale: (M,) what each other's distances are divided by.
        own: (N, M).
    """
    n, poses, width = posed.shape
    flat = posed.reshape(n * poses, width)
    rows = np.arange(n)
    found, place, pose = np.full(n, np.inf), np.full(n, NONE), np.zeros(n, np.intp)
    for start in range(0, len(others), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        cosines = (flat @ others[some].T).reshape(n, poses, -1)
        apart = 1 - cosines.max(axis=1).astype(np.float64)
        if scale is not None:
            apart /= scale[some] ** 2
        if own is not None:
            apart[own[:, some]] = np.inf
        best = apart.argmin(axis=1)
        nearer = apart[rows, best] < found
        found = np.where(nearer, apart[rows, best], found)
        place = np.where(nearer, best + start, place)
        pose = np.where(nearer, cosines[rows, :, best].argmax(axis=1), pose)
    distance = np.full(n, np.inf)
    known = np.flatnonzero(place != NONE)
    gaps = posed[known, pose[known]].astype(np.float64) - others[place[known]]
    distance[known] = np.linalg.norm(gaps, axis=1) / (1 if scale is None else scale[place[known]])
    return Nearest(distance, place)


def nearest_thumbnails(
    thumbs: NDArray[np.uint8],
    others: NDArray[np.uint8],
    *,
    below: Floats | None = None,
    own: Own | None = None,
) -> Nearest:
    """Return the nearest by mean absolute difference of thumbnails, 0-255, in the best of 8 poses.

    What no pose changes (`ring_means`) differs by no more than the thumbnails do, so most pairs are ruled out by 12 numbers
    instead of 8 x 768. The result is exact.

    Args:
        thumbs: uint8 (N, 16, 16, 3).
        others: uint8 (M, 16, 16, 3).
        below: (N,) nothing at or above it is looked for; such an image has inf and -1.
        own: (N, M).
    """
    from scipy.spatial.distance import cdist

    found = Nearest(np.full(len(thumbs), np.inf) if below is None else below.copy(), np.full(len(thumbs), NONE))
    if len(thumbs) and len(others):
        least = cdist(ring_means(thumbs), ring_means(others), "cityblock") - RING_ERROR
        if own is not None:
            least[own] = np.inf
        for i in range(len(thumbs)):
            _look_closely(found, i, thumbs[i : i + 1], others, least[i])
    found.distance[found.place == NONE] = np.inf
    return found


def _look_closely(found: Nearest, i: int, thumb: NDArray[np.uint8], others: NDArray[np.uint8], least: Floats) -> None:
    """Replace image i's entry by its nearest, if any is nearer than the entry says already."""
    possible = np.flatnonzero(least < found.distance[i])
    for some in np.split(possible[np.argsort(least[possible], kind="stable")], range(CLOSELY, len(possible), CLOSELY)):
        if not len(some) or least[some[0]] >= found.distance[i]:
            return
        apart = pixel_distances(thumb, others[some])[0]
        best = int(apart.argmin())
        if apart[best] < found.distance[i]:
            found.distance[i], found.place[i] = apart[best], some[best]
