"""Intervals: percentiles over resamples, and honest nulls where there is too little to resample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class EstimateFields(TypedDict):
    """The five fields every row of metrics shares; see `schemas.metrics.Estimate`."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None


def measured(value: float, draws: Floats, coverage: float, n: int) -> EstimateFields:
    """Return a value with the percentile interval of its resamples, those that came to nan left out."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return {"value": float(value), "low": None, "high": None, "n": n, "reason": None}
    tail = (1 - coverage) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return {"value": float(value), "low": float(low), "high": float(high), "n": n, "reason": None}


def not_measured(n: int, reason: str) -> EstimateFields:
    """Return no value, how many images there were, and why that is not enough."""
    return {"value": None, "low": None, "high": None, "n": n, "reason": reason}


def share(successes: int, n: int, coverage: float) -> EstimateFields:
    """Return a share, 0-1, with Wilson's score interval, which stays inside 0-1 at small n (Wilson 1927)."""
    from scipy.stats import norm

    if not n:
        return not_measured(0, "no images")
    z = float(norm.ppf((1 + coverage) / 2))
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # the interval holds p exactly; rounding must not push its ends past it
    low, high = min(max(0.0, middle - half), p), max(min(1.0, middle + half), p)
    return {"value": p, "low": low, "high": high, "n": n, "reason": None}


def cluster_weights(clusters: Sequence[str], resamples: int, seed: int) -> Floats:
    """Return (resamples, N) how often each image is drawn when whole clusters (patients) are drawn with replacement.

    Images of one patient are alike, so drawing images one by one would make every interval too narrow.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    weights: Floats = counts[:, member].astype(np.float64)
    return weights


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Return (B,) means of `values` (N,) under each row of `weights` (B, N); nan where a row has no weight."""
    totals = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = (weights @ values) / totals
    return means


def bootstrap_median(values: Floats, resamples: int, seed: int) -> Floats:
    """Return (resamples,) medians of `values` (N,) drawn with replacement."""
    rng = np.random.default_rng(seed)
    draws: Floats = np.array([np.median(rng.choice(values, len(values))) for _ in range(resamples)])
    return draws
