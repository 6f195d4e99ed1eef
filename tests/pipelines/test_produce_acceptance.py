"""Rounds follow the lower bound of the acceptance rate: never too few for long, never many on little evidence."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pipelines.produce.acceptance import acceptance_bounds, round_attempts

confidences = st.floats(0.5, 0.999)
counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_known_bounds() -> None:
    # Newcombe 1998, table I: 81 of 263 is 0.2553 to 0.3662 and 0 of 20 is 0 to 0.1611, both at 95% two-sided.
    assert acceptance_bounds(81, 263, 0.975) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert acceptance_bounds(0, 20, 0.975) == (0.0, pytest.approx(0.1611, abs=5e-5))
    assert acceptance_bounds(0, 0, 0.9) == (0.0, 1.0)


@given(counts, confidences)
def test_the_rate_lies_between_its_bounds(count: tuple[int, int], confidence: float) -> None:
    accepted, attempts = count
    lower, upper = acceptance_bounds(accepted, attempts, confidence)
    assert 0 <= lower <= accepted / attempts + 1e-12
    assert accepted / attempts - 1e-12 <= upper <= 1


@given(counts, st.integers(1, 10**6), st.integers(1, 64), confidences)
def test_a_round_covers_the_least_and_at_most_doubles_what_is_known(
    count: tuple[int, int], missing: int, least: int, confidence: float
) -> None:
    accepted, attempts = count
    more = round_attempts(missing, accepted, attempts, least=least, confidence=confidence)
    assert least <= more <= max(least, attempts)
    lower, _ = acceptance_bounds(accepted, attempts, confidence)
    if least < more < attempts:
        assert more == math.ceil(missing / lower)


@given(counts, st.integers(1, 10**5), st.integers(0, 10**5))
def test_more_missing_asks_for_no_less(count: tuple[int, int], missing: int, more: int) -> None:
    def asked(images: int) -> int:
        return round_attempts(images, *count, least=1, confidence=0.8)

    assert asked(missing) <= asked(missing + more)


@pytest.mark.parametrize(("rate", "n"), [(0.3, 40), (0.1, 200), (0.7, 25)])
def test_the_lower_bound_holds_about_as_often_as_it_says(rate: float, n: int) -> None:
    chances = binom.pmf(range(n + 1), n, rate)
    covered = sum(c for k, c in enumerate(chances) if acceptance_bounds(k, n, 0.9)[0] <= rate)
    assert 0.84 < covered < 0.97


def test_a_first_round_expects_three_in_four() -> None:
    assert round_attempts(30, 0, 0, least=6, confidence=0.8) == 40
    assert round_attempts(1, 0, 0, least=6, confidence=0.8) == 6
