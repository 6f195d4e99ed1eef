"""Intervals hold what they say, and patients are drawn whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate.resample import bootstrap_median, cluster_weights, measured, not_measured, share, weighted_mean


def test_wilson_by_hand() -> None:
    found = share(8, 10, 0.95)  # Wilson 1927 for 8 of 10: 0.4902 to 0.9433
    assert found["value"] == 0.8
    assert found["low"] == pytest.approx(0.4902, abs=1e-4)
    assert found["high"] == pytest.approx(0.9433, abs=1e-4)
    assert share(0, 0, 0.95) == {"value": None, "low": None, "high": None, "n": 0, "reason": "no images"}


@given(st.integers(1, 500), st.data())
def test_a_share_is_inside_its_interval_and_the_interval_inside_0_1(n: int, data: st.DataObject) -> None:
    found = share(data.draw(st.integers(0, n)), n, 0.95)
    assert found["low"] is not None
    assert found["high"] is not None
    assert found["value"] is not None
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1


def test_patients_are_drawn_whole_and_with_replacement() -> None:
    clusters = ["a", "a", "a", "b", "c", "c"]
    weights = cluster_weights(clusters, 500, seed=0)
    assert weights.shape == (500, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 4] == weights[:, 5]).all()
    assert (weights[:, [0, 3, 4]].sum(axis=1) == 3).all()
    assert np.array_equal(weights, cluster_weights(clusters, 500, seed=0))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        right = (rng.random(80) < 0.7).astype(float)
        draws = weighted_mean(right, cluster_weights([str(i) for i in range(80)], 200, seed=trial))
        found = measured(float(right.mean()), draws, 0.95, 80)
        hits += (found["low"] or 0) <= 0.7 <= (found["high"] or 0)
    assert hits >= 180


def test_resamples_without_the_group_are_left_out() -> None:
    means = weighted_mean(np.array([1.0, 0.0]), np.array([[1.0, 1.0], [0.0, 0.0], [2.0, 0.0]]))
    assert np.isnan(means[1])
    found = measured(0.5, means, 0.95, 2)
    assert found["low"] == pytest.approx(0.5, abs=0.05)
    assert measured(0.5, np.array([np.nan]), 0.95, 2)["low"] is None
    assert not_measured(3, "too few")["reason"] == "too few"
    assert bootstrap_median(np.arange(9.0), 100, 0).std() > 0
