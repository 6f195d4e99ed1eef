"""Precision, recall, density and coverage: toy sets worked out by hand, theory, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.embedding.precision_recall import overlap


def line(*positions: float) -> np.ndarray:
    return np.array(positions)[:, None]


def normal(seed: int, n: int, dims: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, (n, dims))


def test_by_hand_on_a_line() -> None:
    # k = 1. Balls of the real 0, 1, 3: radii 1, 1, 2; of the made 0.5, 4.5, 20: radii 4, 4, 15.5.
    found = overlap(line(0, 1, 3), line(0.5, 4.5, 20), 1)
    assert found.made_inside.tolist() == [True, True, False]
    assert found.real_balls.tolist() == [2, 1, 0]  # 0.5 in those of 0 and 1; 4.5 in that of 3
    assert found.real_covered.tolist() == [True, True, True]
    assert found.real_inside.tolist() == [True, True, True]
    assert found.precision == pytest.approx(2 / 3)
    assert found.density == pytest.approx(1.0)
    # k = 2: 3 reaches 3 and so holds 0.5 and 4.5; balls are counted over k
    assert overlap(line(0, 1, 3), line(0.5, 4.5, 20), 2).real_balls.tolist() == [3 / 2, 1 / 2, 0]


def test_a_stray_made_image_flatters_recall_but_not_coverage() -> None:
    real = np.concatenate([line(0, 0.1, 0.2), line(10, 10.1, 10.2)])
    made = line(0.05, 0.15, 0.25, 30)  # one mode, and a stranger whose ball reaches back over the other
    found = overlap(real, made, 2)
    assert found.recall == 1.0
    assert found.coverage == 0.5
    assert found.precision == 0.75


def test_one_mode_of_two_has_full_precision_and_half_the_recall() -> None:
    real = np.concatenate([normal(0, 200, 4), normal(1, 200, 4, mean=50)])
    found = overlap(real, normal(2, 400, 4), 5)
    assert found.precision > 0.9
    assert found.recall == pytest.approx(0.5, abs=0.03)
    assert found.coverage == pytest.approx(0.5, abs=0.03)


def test_sets_apart_share_nothing() -> None:
    found = overlap(normal(0, 60, 8), normal(1, 60, 8, mean=50), 3)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_two_draws_of_one_distribution_have_the_density_and_coverage_of_theory() -> None:
    # Naeem et al., lemma 2: 1 - (n - 1) ... (n - k) / ((2n - 1) ... (2n - k)) and density 1, whatever the distribution
    n, k = 200, 5
    expected = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    found = [overlap(normal(2 * s, n, 3), normal(2 * s + 1, n, 3), k) for s in range(20)]
    assert np.mean([f.coverage for f in found]) == pytest.approx(expected, abs=0.01)
    assert np.mean([f.density for f in found]) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("n", "m", "k"), [(3, 9, 3), (9, 3, 3), (5, 5, 0)])
def test_too_few_images_or_no_neighbour_is_refused(n: int, m: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"{n} real and {m} made images; balls to neighbour {k} need {max(k, 1) + 1}"):
        overlap(normal(0, n, 2), normal(1, m, 2), k)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 25), st.integers(5, 25), st.integers(1, 5), st.integers(1, 3))
def test_invariants(seed: int, n: int, m: int, dims: int, k: int) -> None:
    real, made = normal(seed, n, dims), normal(seed + 1, m, dims, mean=0.7)
    found, turned = overlap(real, made, k), overlap(made, real, k)
    assert found.precision == turned.recall  # precision of one is recall of the other
    assert found.recall == turned.precision
    assert (found.precision > 0) == (found.coverage > 0) == (found.density > 0)
    assert found.precision <= k * found.density  # a made image in a ball is in one or more of them
    rotation = np.linalg.qr(normal(seed + 2, dims, dims))[0]
    order = np.random.default_rng(seed).permutation(n)
    moved = overlap(3 * real[order] @ rotation + 5, 3 * made @ rotation + 5, k)
    assert moved.real_covered.tolist() == found.real_covered[order].tolist()
    assert moved.real_inside.tolist() == found.real_inside[order].tolist()
    wider = overlap(real, made, k + 1)
    assert (wider.real_covered >= found.real_covered).all()
    assert (wider.made_inside >= found.made_inside).all()
