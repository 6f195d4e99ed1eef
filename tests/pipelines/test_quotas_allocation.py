"""Quotas: sums are exact, shares are fair, caps hold, and every reason says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.stratify.quotas import allocate, cap
from pipelines.stratify.shares import largest_remainder
from schemas.params import StratifyParams
from schemas.strata import QuotaRow, StratumRow
from schemas.words import Lesion, Modality, Support

GOLDEN = Path(__file__).parent / "golden" / "quota_reasons.txt"

weights_lists = st.lists(st.integers(0, 10_000), min_size=1, max_size=30).filter(any)


def settings(**quotas: Any) -> StratifyParams:
    return StratifyParams.model_validate({"support": {"supported": 40, "borrowed": 4}, "quotas": quotas})


def stratum(n_train: int, fst: int | None = 6, lesion: str = "melanoma", modality: str = "phantom") -> StratumRow:
    support = Support.SUPPORTED if n_train >= 40 else Support.BORROWED if n_train >= 4 else Support.UNSUPPORTED
    return StratumRow(
        modality=Modality(modality),
        fst=fst,
        lesion=Lesion(lesion),
        n_real=n_train,
        n_train=n_train,
        n_validation=0,
        n_test=0,
        share=0.0,
        ita_p05=None,
        ita_p50=None,
        ita_p95=None,
        support=support,
    )


@given(weights_lists, st.integers(0, 50_000))
def test_parts_sum_to_the_total_and_are_within_one_of_proportional(weights: list[int], total: int) -> None:
    parts = largest_remainder(weights, total)
    assert sum(parts) == total
    whole = sum(weights)
    for weight, part in zip(weights, parts, strict=True):
        assert abs(part * whole - weight * total) < whole


@given(weights_lists, st.data())
def test_no_part_exceeds_its_weight_while_the_total_does_not(weights: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(weights)))
    assert all(part <= weight for part, weight in zip(largest_remainder(weights, total), weights, strict=True))


@given(weights_lists, st.integers(0, 50_000))
def test_a_larger_weight_never_gets_less_and_ties_go_to_the_earlier(weights: list[int], total: int) -> None:
    parts = largest_remainder(weights, total)
    for i, (weight, part) in enumerate(zip(weights, parts, strict=True)):
        for other, its in zip(weights[i + 1 :], parts[i + 1 :], strict=True):
            assert part >= its if weight >= other else part <= its


def test_known_shares() -> None:
    assert largest_remainder([47_000, 16_000, 15_800, 12_000, 6_100, 3_100], 10) == [5, 2, 1, 1, 1, 0]
    assert largest_remainder([1, 1, 1], 2) == [1, 1, 0]
    assert largest_remainder([0, 0], 0) == [0, 0]


@pytest.mark.parametrize(("weights", "total"), [([1, -1], 1), ([1], -1), ([0, 0], 1), ([], 1)])
def test_impossible_shares_are_refused(weights: list[int], total: int) -> None:
    with pytest.raises(ValueError, match="largest_remainder needs"):
        largest_remainder(weights, total)


counts = st.lists(st.integers(0, 120), min_size=1, max_size=24)
policies = st.builds(
    settings,
    per_stratum=st.integers(0, 100),
    max_images=st.integers(0, 2000),
    max_synthetic_per_real=st.sampled_from([0.1, 0.29, 0.5, 1.0, 3.3, 10.0]),
    unsupported=st.sampled_from(["refuse", "make"]),
)


@given(counts, policies)
def test_a_quota_never_exceeds_need_cap_or_budget(real: list[int], policy: StratifyParams) -> None:
    rows = allocate([stratum(n) for n in real], policy)
    wanted = [min(row.need, row.cap) for row in rows]
    assert sum(row.quota for row in rows) == min(sum(wanted), policy.quotas.max_images)
    for row, most in zip(rows, wanted, strict=True):
        assert row.quota <= most
        assert row.need == max(0, row.target - row.have)
        assert (row.reason is None) == (row.quota == row.need)
        if row.support is Support.UNSUPPORTED and policy.quotas.unsupported == "refuse":
            assert row.quota == 0


@given(st.integers(0, 120), policies)
def test_the_cap_grows_with_real_images(real: int, policy: StratifyParams) -> None:
    assert cap(stratum(real), policy) <= cap(stratum(real + 1), policy)


@given(counts, policies, st.integers(0, 500))
def test_a_larger_budget_makes_no_total_smaller(real: list[int], policy: StratifyParams, more: int) -> None:
    strata = [stratum(n) for n in real]
    larger = policy.quotas.model_copy(update={"max_images": policy.quotas.max_images + more})
    after = allocate(strata, policy.model_copy(update={"quotas": larger}))
    assert sum(r.quota for r in after) >= sum(r.quota for r in allocate(strata, policy))


def test_the_ratio_is_read_as_written() -> None:
    assert cap(stratum(100), settings(max_synthetic_per_real=0.29)) == 29  # 28.999999999999996 in binary


def test_unsupported_made_is_capped_like_the_support_floor() -> None:
    policy = settings(per_stratum=60, max_synthetic_per_real=10, unsupported="make")
    rows = allocate([stratum(0), stratum(3), stratum(4)], policy)
    assert [row.cap for row in rows] == [40, 40, 40]
    assert [row.quota for row in rows] == [40, 40, 40]


def test_unknown_fst_gets_a_quota_only_where_no_fst_is_known() -> None:
    mixed = [stratum(10, fst=1), stratum(10, fst=None)]
    alone = [stratum(10, fst=None, modality="dermoscopic")]
    rows = allocate([*mixed, *alone], settings(per_stratum=30))
    assert [(r.target, r.need, r.cap, r.quota, r.reason) for r in rows] == [
        (30, 20, 100, 20, None),
        (0, 0, 0, 0, None),
        (30, 20, 100, 20, None),
    ]


def test_a_budget_of_nothing_makes_nothing() -> None:
    rows = allocate([stratum(10), stratum(20)], settings(per_stratum=30, max_images=0))
    assert [row.quota for row in rows] == [0, 0]


def test_no_strata_no_quotas() -> None:
    assert allocate([], settings()) == []


def test_reasons_read_as_written_down() -> None:
    rows: list[QuotaRow] = [
        *allocate([stratum(2), stratum(1, fst=5), stratum(0, fst=4)], settings(per_stratum=30)),
        *allocate([stratum(4, lesion="nevus")], settings(per_stratum=60, max_synthetic_per_real=2.5)),
        *allocate([stratum(10), stratum(10, fst=1)], settings(per_stratum=30, max_images=25)),
        *allocate([stratum(1, fst=None)], settings(per_stratum=99, max_synthetic_per_real=2, unsupported="make")),
    ]
    assert "".join(f"{row.reason}\n" for row in rows) == GOLDEN.read_text(encoding="utf-8")
