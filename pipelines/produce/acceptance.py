"""How often attempts are accepted, with its uncertainty, and how many more of them a stratum's next round asks for."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

FIRST_RATE: Final = 0.75
"""Before the first attempt 3 in 4 are expected to pass: few generators do better, so few first attempts are too many."""


def acceptance_bounds(accepted: int, attempts: int, confidence: float) -> tuple[float, float]:
    """Return the lower and the upper bound of the acceptance rate, each one-sided at `confidence`, 0-1.

    Wilson's score interval, (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with p = accepted / attempts,
    n = attempts and z the normal quantile of `confidence` (Wilson 1927; Brown, Cai and DasGupta 2001 on small n). It is
    of closed form, so the same on every machine. Without an attempt it is (0, 1).

    Args:
        confidence: 0.5 up to, not including, 1; 0.5 gives the rate itself twice.
    """
    if not attempts:
        return 0.0, 1.0
    z, n, p = NormalDist().inv_cdf(confidence), attempts, accepted / attempts
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    whole = 1 + z * z / n
    lower = max(0.0, (middle - spread) / whole) if accepted else 0.0  # both ends exact, not up to rounding
    upper = min(1.0, (middle + spread) / whole) if accepted < attempts else 1.0
    return lower, upper


def round_attempts(missing: int, accepted: int, attempts: int, *, least: int, confidence: float) -> int:
    """Return the attempts of a stratum's next round: its missing images over the lower bound of the acceptance rate.

    The bound is that of the attempts made so far. A round at most doubles those: with none accepted the bound is 0, and
    what 20 attempts say must not decide about 20,000. The first round expects `FIRST_RATE`.

    Args:
        missing: images to be accepted still, 1 or more.
        least: attempts that a round has at least; a sampler is no quicker on one image than on a few.
    """
    if not attempts:
        return max(math.ceil(missing / FIRST_RATE), least)
    lower, _ = acceptance_bounds(accepted, attempts, confidence)
    wanted = math.ceil(missing / lower) if lower * attempts > missing else attempts
    return max(min(wanted, attempts), least)
