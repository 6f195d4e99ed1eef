"""How two sets of feature vectors overlap: precision and recall, density and coverage, by nearest-neighbour balls.

Sources: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models" (k = 3); Naeem
et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models" (k = 5). We differ in the extractor, whose
name therefore stands with the number. All four depend on the numbers of images: compare only at equal ones, and beside
two sets of real images. pipelines/produce/manifold.py judges one image by the same idea, on features of length 1 and
with patients apart; these are figures of whole sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Which images lie within the other set's balls; a set's figure is the mean over its images.

    The ball of an image reaches to its k-th nearest other image of its own set, the edge included.
    """

    made_inside: Flags  # (M,) some real image's ball holds it
    real_inside: Flags  # (N,) some made image's ball holds it
    real_balls: Floats  # (M,) how many real images' balls hold it, over k
    real_covered: Flags  # (N,) its ball holds some made image

    @property
    def precision(self) -> float:
        """Return the share of made images within the real ones' balls, 0-1 (Kynkäänniemi et al., equation 1)."""
        return float(self.made_inside.mean())

    @property
    def recall(self) -> float:
        """Return the share of real images within the made ones' balls, 0-1 (Kynkäänniemi et al., equation 2).

        One stray made image in empty space has a wide ball, so recall flatters a generator with outliers.
        """
        return float(self.real_inside.mean())

    @property
    def density(self) -> float:
        """Return the mean number of real balls that hold a made image, over k (Naeem et al., equation 3); may pass 1."""
        return float(self.real_balls.mean())

    @property
    def coverage(self) -> float:
        """Return the share of real images whose own ball holds a made image, 0-1 (Naeem et al., equation 4)."""
        return float(self.real_covered.mean())


def overlap(real: Floats, made: Floats, neighbours: int) -> Overlap:
    """Return how real features (N, D) and made ones (M, D) overlap, with balls to the `neighbours`-th neighbour (k).

    Raises:
        ValueError: a set of `neighbours` images or fewer, which has no such neighbour.
    """
    from scipy.spatial.distance import cdist

    if min(len(real), len(made)) <= neighbours or neighbours < 1:
        raise ValueError(
            f"{len(real)} real and {len(made)} made images; balls to neighbour {neighbours} need "
            f"{max(neighbours, 1) + 1} or more of each and a neighbour of 1 or more; add images or lower it"
        )
    between = cdist(real, made)
    in_real = between <= _kth_distance(cdist(real, real), neighbours)[:, None]
    in_made = between <= _kth_distance(cdist(made, made), neighbours)[None, :]
    return Overlap(
        made_inside=in_real.any(axis=0),
        real_inside=in_made.any(axis=1),
        real_balls=in_real.sum(axis=0) / neighbours,
        real_covered=in_real.any(axis=1),
    )


def _kth_distance(within: Floats, k: int) -> Floats:
    """Return each image's distance to its k-th nearest other one, (N,), from distances (N, N) within a set."""
    # Column 0 after sorting is the image itself (or an exact copy, at distance 0 as well).
    kth: Floats = np.partition(within, k, axis=1)[:, k]
    return kth
