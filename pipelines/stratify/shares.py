"""Whole units shared out in proportion, to the last one."""

from __future__ import annotations

from collections.abc import Sequence


def largest_remainder(weights: Sequence[int], total: int) -> list[int]:
    """Return `total` whole units shared out in proportion to `weights`; the sum is exactly `total`.

    Each part is `weight * total / sum(weights)` rounded down or up (Hamilton's method): the units lost by rounding
    down go to the largest remainders, ties to the earlier. Exact integer arithmetic. A larger weight never gets less
    than a smaller one, and no part exceeds its weight while `total <= sum(weights)`.

    Raises:
        ValueError: a weight or the total is negative, or there is something to share and nobody to share it.
    """
    whole = sum(weights)
    if total < 0 or any(w < 0 for w in weights):
        raise ValueError(f"got total {total} and weights {list(weights)}; largest_remainder needs none below 0")
    if total and not whole:
        raise ValueError(f"got total {total} for weights that sum to 0; largest_remainder needs a weight above 0")
    if not total:
        return [0] * len(weights)
    parts = [w * total // whole for w in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(weights[i] * total % whole), i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts
