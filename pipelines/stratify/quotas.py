"""How many images of each stratum to make, and why not more. Whole numbers in, whole numbers out, nothing read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal

from pipelines.stratify.shares import largest_remainder
from pipelines.stratify.targets import Stratum, wanted_images
from schemas.params import StratifyParams
from schemas.quota_params import QuotaParams
from schemas.strata import QuotaRow, StratumRow
from schemas.words import Support, stratum_name


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


def allocate(
    strata: Sequence[StratumRow], params: StratifyParams, table: Mapping[Stratum, int] | None = None
) -> list[QuotaRow]:
    """Return one quota a stratum, in the given order.

    What is wanted follows from the policy (`wanted_images`); of it, what is not there yet is needed, and of that at most
    the cap is asked for. If the quotas sum to more than `max_images`, they share it by largest remainder. `target` is
    always real + synthetic: where synthetic images alone count, it is the real ones plus those.

    Args:
        table: images by stratum, for policy `table`.

    Raises:
        ParamsError: the table names a stratum that is not among `strata`.
    """
    wanted = wanted_images(strata, params.quotas, table)
    alone = params.quotas.count == "synthetic_only"
    targets = [s.n_train + w if alone and w else w for s, w in zip(strata, wanted, strict=True)]
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
