"""Distances between two sets of feature vectors. Numbers of different extractors are never compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def cubic_kernel(a: Floats, b: Floats) -> Floats:
    """Return (N, M) values of k(x, y) = (x . y / D + 1)^3 for features (N, D) and (M, D)."""
    kernel: Floats = (a @ b.T / a.shape[1] + 1) ** 3
    return kernel


def unbiased_mmd2(within_a: Floats, within_b: Floats, between: Floats) -> float:
    """Return the unbiased squared maximum mean discrepancy from three kernel blocks (N, N), (M, M) and (N, M).

    sum_{i != j} k(a_i, a_j) / N(N-1) + sum_{i != j} k(b_i, b_j) / M(M-1) - 2 mean k(a, b).
    It may fall below 0: that is what unbiased means. Source: Gretton et al. 2012, equation 3.

    Raises:
        ValueError: fewer than 2 of a kind.
    """
    n, m = len(within_a), len(within_b)
    if min(n, m) < 2:
        raise ValueError(f"{n} and {m} images; an unbiased MMD needs 2 or more of each")
    first = (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
    second = (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
    return float(first + second - 2 * between.mean())


def kid(a: Floats, b: Floats) -> float:
    """Return the kernel distance of features (N, D) and (M, D): the unbiased squared MMD with the cubic kernel.

    Source: Binkowski et al. 2018 (KID); differs from it in the extractor, whose name therefore stands with the number.
    """
    return unbiased_mmd2(cubic_kernel(a, a), cubic_kernel(b, b), cubic_kernel(a, b))


def frechet_distance(a: Floats, b: Floats) -> float:
    """Return the Frechet distance between Gaussians fitted to features (N, D) and (M, D); 0 for equal moments.

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)). It is biased upwards at small N (identical distributions: 33 at
    200 images, 0.8 at 10,000, of 512 features), so it is compared only at equal N, and only from thousands of images.
    Source: Heusel et al. 2017; called FID only with Inception-v3 features.
    """
    moved = float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum())
    # The root of S_a S_b has the eigenvalues' roots; as a product of centred data matrices it is a nuclear norm:
    # tr (S_a S_b)^(1/2) = |A B^T|_* / sqrt((N-1)(M-1)), which needs no matrix root and cannot turn complex.
    left, right = _triangle(a - a.mean(axis=0)), _triangle(b - b.mean(axis=0))
    spread = float((left**2).sum() / (len(a) - 1) + (right**2).sum() / (len(b) - 1))
    cross = np.linalg.svd(left @ right.T, compute_uv=False).sum() / np.sqrt((len(a) - 1) * (len(b) - 1))
    return moved + spread - 2 * float(cross)


def _triangle(data: Floats) -> Floats:
    """Return a matrix with the same second moments as `data` (N, D) and at most D rows."""
    if len(data) <= data.shape[1]:
        return data
    return np.asarray(np.linalg.qr(data, mode="r"))
