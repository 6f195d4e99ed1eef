"""Quota policies: who is owed what, to the last image; a table is read to the last row, and wrong ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.stratify.quota_table import read_quota_table
from pipelines.stratify.quotas import allocate
from pipelines.stratify.shares import largest_remainder
from pipelines.stratify.targets import wanted_images
from schemas.errors import ParamsError
from schemas.params import StratifyParams, parse_params
from schemas.paths import Workspace
from schemas.quota_params import QuotaParams
from schemas.strata import StratumRow
from schemas.words import FST_RANGE, Lesion, Modality, Support, parse_stratum, stratum_name

LESIONS = (Lesion.NEVUS, Lesion.MELANOMA, Lesion.BASAL_CELL_CARCINOMA)
MELANOMA_VI = (Modality.PHANTOM, 6, Lesion.MELANOMA)


def settings(**quotas: Any) -> StratifyParams:
    return StratifyParams.model_validate({"support": {"supported": 40, "borrowed": 1}, "quotas": quotas})


def grid(counts: list[list[int]], modality: Modality = Modality.PHANTOM, fsts: Any = FST_RANGE) -> list[StratumRow]:
    """Return strata with training images counts[fst][lesion]."""
    rows = []
    for fst, mix in zip(fsts, counts, strict=True):
        for lesion, n in zip(LESIONS, mix, strict=True):
            cell: dict[str, Any] = {"modality": modality, "fst": fst, "lesion": lesion, "share": 0.0}
            support = Support.SUPPORTED if n >= 40 else Support.BORROWED if n else Support.UNSUPPORTED
            none = dict.fromkeys(("ita_p05", "ita_p50", "ita_p95"))
            rows.append(StratumRow(**cell, **none, n_real=n, n_train=n, n_validation=0, n_test=0, support=support))
    return rows


def by_fst(strata: list[StratumRow], numbers: list[int]) -> list[list[int]]:
    width = len(LESIONS)
    assert len(numbers) == len(strata)
    return [numbers[i : i + width] for i in range(0, len(numbers), width)]


grids = st.lists(st.lists(st.integers(0, 90), min_size=3, max_size=3), min_size=6, max_size=6).map(grid)
per_fst = st.integers(0, 1000)


@given(grids, per_fst, st.sampled_from(["parity", "match"]))
def test_every_fst_is_owed_exactly_the_same(strata: list[StratumRow], each: int, policy: str) -> None:
    wanted = wanted_images(strata, settings(policy=policy, per_fst=each).quotas)
    assert [sum(mix) for mix in by_fst(strata, wanted)] == [each] * 6


@given(grids)
def test_parity_keeps_each_mix_and_takes_nothing_away(strata: list[StratumRow]) -> None:
    real = by_fst(strata, [s.n_train for s in strata])
    largest = max(sum(mix) for mix in real)
    for own, after in zip(real, by_fst(strata, wanted_images(strata, settings(policy="parity").quotas)), strict=True):
        assert sum(after) == largest
        if any(own):
            assert after == largest_remainder(own, largest)
            assert all(a >= o for a, o in zip(after, own, strict=True))


@given(grids, per_fst)
def test_match_gives_every_fst_one_mix(strata: list[StratumRow], each: int) -> None:
    real = by_fst(strata, [s.n_train for s in strata])
    best = max(real, key=sum)
    after = by_fst(strata, wanted_images(strata, settings(policy="match", per_fst=each).quotas))
    assert all(mix == after[0] for mix in after)
    if any(best):
        assert after[0] == largest_remainder(best, each)


@given(grids, st.sampled_from(["equal", "parity", "match"]), st.integers(0, 400), st.integers(0, 400))
def test_wanting_more_makes_no_total_smaller(strata: list[StratumRow], policy: str, each: int, more: int) -> None:
    key = "per_stratum" if policy == "equal" else "per_fst"
    totals = [sum(r.quota for r in allocate(strata, settings(policy=policy, **{key: n}))) for n in (each, each + more)]
    assert totals[0] <= totals[1]


@given(grids, st.sampled_from(["equal", "parity", "match"]), st.sampled_from(["real_and_synthetic", "synthetic_only"]))
def test_caps_hold_and_every_gap_has_a_reason(strata: list[StratumRow], policy: str, count: str) -> None:
    for stratum, row in zip(strata, allocate(strata, settings(policy=policy, count=count)), strict=True):
        assert row.quota <= 10 * stratum.n_train
        assert (row.reason is None) == (row.quota == row.need)


@given(grids, st.integers(1, 200))
def test_synthetic_only_asks_for_the_whole_number(strata: list[StratumRow], each: int) -> None:
    rows = allocate(strata, settings(count="synthetic_only", per_stratum=each))
    assert [row.need for row in rows] == [each] * len(rows)
    assert [row.target for row in rows] == [each + row.have for row in rows]


def test_known_policies() -> None:
    strata = grid([[60, 30, 10], [6, 2, 2], [0, 0, 0]], fsts=(1, 5, 6))
    parity = by_fst(strata, wanted_images(strata, settings(policy="parity").quotas))
    assert parity == [[60, 30, 10], [60, 20, 20], [60, 29, 11]]  # FST VI has no mix: that of all, 66 : 32 : 12
    match = by_fst(strata, wanted_images(strata, settings(policy="match", per_fst=50).quotas))
    assert match == [[30, 15, 5]] * 3


def test_modalities_do_not_mix_and_unknown_fst_counts_only_alone() -> None:
    strata = grid([[5, 5, 0], [1, 1, 1]], fsts=(1, None)) + grid([[2, 4, 6]], Modality.DERMOSCOPIC, (None,))
    wanted = by_fst(strata, wanted_images(strata, settings(policy="parity").quotas))
    assert wanted == [[5, 5, 0], [0, 0, 0], [2, 4, 6]]


def test_a_table_says_all_and_names_what_is_not_there() -> None:
    strata = grid([[5, 5, 5]], fsts=(6,))
    rows = allocate(strata, settings(policy="table", table={"phantom/VI/melanoma": 12}), {MELANOMA_VI: 12})
    assert [(row.target, row.quota) for row in rows] == [(0, 0), (12, 7), (0, 0)]
    with pytest.raises(ParamsError) as error:
        allocate(strata, settings(), {}) and wanted_images(
            strata, settings(policy="table", table={}).quotas, {(Modality.CLINICAL, 4, Lesion.NEVUS): 3}
        )
    assert str(error.value) == (
        "stratify.quotas: stratum clinical/IV/nevus: got a quota, but this catalog has no such stratum among its 3 "
        "(one is phantom/VI/nevus); take it out of the table or add a source that has it"
    )


@given(st.sampled_from(Modality), st.sampled_from([None, *FST_RANGE]), st.sampled_from(Lesion))
def test_a_name_is_read_as_it_is_written(modality: Modality, fst: int | None, lesion: Lesion) -> None:
    assert parse_stratum(stratum_name(modality.value, fst, lesion.value)) == (modality, fst, lesion)


@pytest.mark.parametrize(
    "quotas",
    [
        {"policy": "table", "table": {"phantom/VII/melanoma": 3}},
        {"policy": "table", "table": {"phantom/melanoma": 3}},
        {"policy": "table", "table": {"phantom/VI/melanom": 3}},
    ],
)
def test_an_unknown_stratum_is_one_line(quotas: dict[str, Any]) -> None:
    data = {"sources": {"use": {"p": {"adapter": "phantom"}}}, "stratify": {"quotas": quotas}}
    with pytest.raises(ParamsError) as error:
        parse_params(data, "params.yaml")
    (name,) = quotas["table"]
    assert f"stratum '{name}' is not known; a stratum is a modality" in str(error.value)
    assert "\n" not in str(error.value)


def read(root: Path, name: str, content: bytes | None = None) -> dict[str, int]:
    if content is not None:
        (root / "infra/quotas").mkdir(parents=True, exist_ok=True)
        (root / "infra/quotas" / name).write_bytes(content)
    found = read_quota_table(Workspace(root), QuotaParams(policy="table", table_file=name))
    assert found is not None
    return {stratum_name(m.value, fst, le.value): n for (m, fst, le), n in found.items()}


def test_files_say_the_same_as_params(tmp_path: Path) -> None:
    wanted = {"phantom/VI/melanoma": 12, "clinical/?/nevus": 0}
    text = "\ufeffimages,stratum\r\n12,phantom/VI/melanoma\r\n 0 ,clinical/?/nevus\r\n"
    assert read(tmp_path, "a.csv", text.encode()) == wanted
    pq.write_table(pa.table({"stratum": list(wanted), "images": list(wanted.values())}), tmp_path / "b")
    assert read(tmp_path, "b.parquet", (tmp_path / "b").read_bytes()) == wanted
    inline = read_quota_table(Workspace(tmp_path), QuotaParams(policy="table", table=wanted))
    assert inline == {parse_stratum(name): n for name, n in wanted.items()}
    assert read_quota_table(Workspace(tmp_path), QuotaParams()) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"infra/quotas/t.csv: no such file; stratify.quotas.table_file names it"),
        (b"", r"got columns none; needs stratum and images"),
        (b"stratum,count\n", r"got columns stratum, count; needs stratum and images"),
        (
            b"stratum,images\nphantom/VI/melanoma,3\nphantom/VIII/nevus,3\n",
            r"row 2: stratum 'phantom/VIII/nevus' is not",
        ),
        (b"stratum,images\nphantom/VI/melanoma,3.5\n", r"row 1: .*: got '3.5' images; needs a whole number"),
        (b"stratum,images\nphantom/VI/melanoma,-3\n", r"got '-3' images"),
        (b"stratum,images\nphantom/VI/melanoma\n", r"got None images"),
        (b"stratum,images\nphantom/VI/melanoma,1\nphantom/VI/melanoma,1\n", r"row 2: .*: there twice; keep one"),
        (b"stratum,images\n\xff,1\n", r"not readable"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_row(tmp_path: Path, content: bytes | None, words: str) -> None:
    with pytest.raises(ParamsError, match=words) as error:
        read(tmp_path, "t.csv", content)
    assert "\n" not in str(error.value)


def test_a_damaged_parquet_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"infra/quotas/t.parquet: not readable \(") as error:
        read(tmp_path, "t.parquet", b"PAR1 no")
    assert "\n" not in str(error.value)
