"""How many images of each stratum to make, and why not more. Whole numbers in, whole numbers out, nothing read."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal

from schemas.params import QuotaParams, StratifyParams
from schemas.strata import QuotaRow, StratumRow
from schemas.words import Support, stratum_name


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


def cap(stratum: StratumRow, params: StratifyParams) -> int:
    """Return the most synthetic images allowed for a stratum: floor(max_synthetic_per_real * training images).

    An unsupported stratum is allowed none. With `unsupported: make` it is allowed as many as a stratum that just
    reaches `support.borrowed`: its own few images say nothing about a sensible ratio (0 of them would allow 0), and it
    must not be allowed more than a stratum that has more.
    """
    real = stratum.n_train
    if stratum.support is Support.UNSUPPORTED:
        if params.quotas.unsupported == "refuse":
            return 0
        real = params.support.borrowed
    ratio = Decimal(str(params.quotas.max_synthetic_per_real))  # as written in params.yaml: 0.29 * 100 is 29
    return int((ratio * real).to_integral_value(ROUND_FLOOR))


def allocate(strata: Sequence[StratumRow], params: StratifyParams) -> list[QuotaRow]:
    """Return one quota a stratum, in the given order.

    Policy `equal`: every stratum is to have `per_stratum` real training plus synthetic images. A stratum of unknown
    FST wants none where the modality's FST is known for other images: balance is measured over FST, and nobody can
    be missing from "unknown". If the quotas sum to more than `max_images`, they share it by largest remainder.
    """
    known = {s.modality for s in strata if s.fst is not None}
    targets = [0 if s.fst is None and s.modality in known else params.quotas.per_stratum for s in strata]
    needs = [max(0, t - s.n_train) for s, t in zip(strata, targets, strict=True)]
    caps = [cap(s, params) if t else 0 for s, t in zip(strata, targets, strict=True)]
    allowed = [min(n, c) for n, c in zip(needs, caps, strict=True)]
    quotas = largest_remainder(allowed, min(sum(allowed), params.quotas.max_images))
    return [
        QuotaRow(
            modality=stratum.modality,
            fst=stratum.fst,
            lesion=stratum.lesion,
            target=target,
            have=stratum.n_train,
            need=need,
            cap=limit,
            quota=quota,
            support=stratum.support,
            reason=_reason(stratum, need, limit, quota, params),
        )
        for stratum, target, need, limit, quota in zip(strata, targets, needs, caps, quotas, strict=True)
    ]


def _reason(stratum: StratumRow, need: int, limit: int, quota: int, params: StratifyParams) -> str | None:
    """Return why a stratum gets fewer images than it needs: the tightest of support, ratio and budget."""
    if quota >= need:
        return None
    name = stratum_name(stratum.modality, stratum.fst, stratum.lesion)
    wanted: QuotaParams = params.quotas
    if stratum.support is Support.UNSUPPORTED and wanted.unsupported == "refuse":
        return (
            f"{name}: {_real(stratum.n_train)}, support needs {params.support.borrowed}; "
            "lower stratify.support.borrowed or add a source"
        )
    if quota < min(need, limit):
        return (
            f"{name}: {quota} of {min(need, limit)} images left by a budget of {wanted.max_images}; "
            "raise stratify.quotas.max_images"
        )
    return (
        f"{name}: {_real(stratum.n_train)}, {limit} synthetic ones allowed of {need} needed; "
        "raise stratify.quotas.max_synthetic_per_real or add a source"
    )


def _real(count: int) -> str:
    return f"{count} real training image{'' if count == 1 else 's'}"
