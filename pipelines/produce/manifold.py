"""How far an image lies from the real ones, in units of how far those lie from each other, and the bound by skin type.

Source: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric", section 3: an image is on the manifold of the
real ones if it lies within some real image's distance to its k-th nearest neighbour. Differs in three ways: distances are
between features of length 1, a patient's own images are no neighbours, and the yes or no is a number (the least distance
over radius) whose bound comes from held-out real images.

Radii adapt: where real images are sparse, as on dark skin, each reaches further. A pooled covariance (Mahalanobis) would
call the rare ones far instead; it also found fewer planted strangers (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipelines.produce.nearest import nearest_vectors

FEWEST_RADIUS: Final = 1e-3
"""Of features 0-2 apart: two copies in the training set must not make a radius of nothing."""

ROWS: Final = 1024
"""Images whose neighbours are looked for at once."""


class OutlierBound(BaseModel):
    """What held-out real images of one skin type came to."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fst: int | None
    n_held_out: int
    bound: float  # distance over radius


def own_patient(whose: NDArray[np.str_], others: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return (N, M): whether both images are of one patient."""
    same: NDArray[np.bool_] = whose[:, None] == others[None, :]
    return same


def neighbour_radii(units: NDArray[np.float32], whose: NDArray[np.str_], neighbours: int) -> NDArray[np.float64]:
    """Return each image's distance to its k-th nearest image of another patient, (N,); 0 where there are fewer.

    Args:
        units: features of length 1, (N, D).
        whose: patients, (N,).
        neighbours: k.
    """
    radii = np.zeros(len(units))
    for start in range(0, len(units), ROWS):
        some = slice(start, start + ROWS)
        cosines = (units[some] @ units.T).astype(np.float64)
        cosines[own_patient(whose[some], whose)] = -np.inf
        if len(units) > neighbours:
            kth = -np.partition(-cosines, neighbours - 1, axis=1)[:, neighbours - 1]
            radii[some] = np.where(np.isfinite(kth), np.sqrt(np.maximum(0.0, 2 - 2 * kth)), 0.0)
    return np.where(radii > 0, np.maximum(radii, FEWEST_RADIUS), 0.0)


def strangeness(
    units: NDArray[np.float32],
    reference: NDArray[np.float32],
    radii: NDArray[np.float64],
    patients: tuple[NDArray[np.str_], NDArray[np.str_]] | None = None,
) -> NDArray[np.float64]:
    """Return each image's least distance to a real image over that image's radius, (N,); inf without any radius.

    With `patients`, (N,) of the images and (M,) of the real ones, those of one's own patient do not count.
    """
    reaches = radii > 0
    if not reaches.all():  # their patient has nearly all images there are
        reference, radii = reference[reaches], radii[reaches]
        patients = (patients[0], patients[1][reaches]) if patients else None
    found: list[NDArray[np.float64]] = [np.empty(0)]
    for start in range(0, len(units), ROWS):
        some = slice(start, start + ROWS)
        own = own_patient(patients[0][some], patients[1]) if patients else None
        found.append(nearest_vectors(units[some, None], reference, scale=radii, own=own).distance)
    return np.concatenate(found)


def outlier_bounds(scores: NDArray[np.float64], fst: Sequence[int | None], quantile: float) -> tuple[OutlierBound, ...]:
    """Return the bound of each skin type that was held out, and under None that of all others.

    A type's bound is the larger of the quantile over all held-out images and over its own. The quantile of all is mostly
    that of light skin, so alone it could refuse real dark skin for being rare; its own alone, of few images, would lie
    too low. So no type is judged more strictly than all together.
    """
    known = np.isfinite(scores)
    scores, types = scores[known], [f for f, k in zip(fst, known, strict=True) if k]
    if not len(scores):
        return ()
    everyone = float(np.quantile(scores, quantile))
    bounds = [OutlierBound(fst=None, n_held_out=len(scores), bound=everyone)]
    for kind in sorted({f for f in types if f is not None}):
        mine = scores[[f == kind for f in types]]
        own = float(np.quantile(mine, quantile))
        bounds.append(OutlierBound(fst=kind, n_held_out=len(mine), bound=max(everyone, own)))
    return tuple(bounds)
