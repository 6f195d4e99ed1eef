"""Distances against values worked out by hand, by theory and by torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.image.kid import poly_mmd

from pipelines.embedding.distance import frechet_distance, kid


def normal(seed: int, n: int, dims: int, mean: float = 0.0, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, (n, dims))


def test_kid_by_hand() -> None:
    # one feature, k(x, y) = (xy + 1)^3. Within {0, 1}: k(0,1) = 1, mean over i != j is 1.
    # Within {1, 2}: k(1,2) = 27. Between: k(0,1) = k(0,2) = 1, k(1,1) = 8, k(1,2) = 27, mean 37/4.
    a, b = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert kid(a, b) == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_kid_agrees_with_torchmetrics() -> None:
    a, b = normal(0, 40, 16), normal(1, 40, 16, mean=0.3)
    theirs = poly_mmd(torch.from_numpy(a), torch.from_numpy(b), degree=3, gamma=None, coef=1.0)
    assert kid(a, b) == pytest.approx(float(theirs), rel=1e-9)


def test_kid_of_one_distribution_is_zero_on_average_and_may_be_negative() -> None:
    values = np.array([kid(normal(2 * i, 30, 8), normal(2 * i + 1, 30, 8)) for i in range(200)])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(200)
    assert (values < 0).any()
    assert kid(normal(0, 30, 8), normal(1, 30, 8, mean=1.0)) > values.max()


def test_kid_needs_two_of_each() -> None:
    with pytest.raises(ValueError, match="1 and 5 images"):
        kid(normal(0, 1, 3), normal(1, 5, 3))


def test_frechet_distance_of_known_gaussians() -> None:
    # independent axes: |mean difference|^2 + sum (s_a - s_b)^2 = 4 dims x 1 + 4 x (2 - 1)^2
    a, b = normal(0, 40_000, 4, mean=1.0, spread=2.0), normal(1, 40_000, 4)
    assert frechet_distance(a, b) == pytest.approx(8.0, abs=0.2)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-6)


def test_frechet_distance_agrees_with_the_matrix_root_and_with_fewer_images_than_features() -> None:
    from scipy.linalg import sqrtm

    a, b = normal(0, 50, 6) @ normal(2, 6, 6), normal(1, 60, 6)
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    wide_a, wide_b = np.hstack([a, np.zeros((50, 100))]), np.hstack([b, np.zeros((60, 100))])
    assert frechet_distance(wide_a, wide_b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_grows_as_images_become_few() -> None:
    few, many = (frechet_distance(normal(0, n, 64), normal(1, n, 64)) for n in (100, 3000))
    assert few > 10 * many  # why it is reported only from thousands


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12), st.integers(1, 6))
def test_distances_are_symmetric_and_do_not_know_the_order_of_images(seed: int, n: int, m: int, dims: int) -> None:
    a, b = normal(seed, n, dims), normal(seed + 1, m, dims)
    assert kid(a, b) == pytest.approx(kid(b, a[::-1]))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b[::-1], a), abs=1e-8)
    assert frechet_distance(a, b) > -1e-8
