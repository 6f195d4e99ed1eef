"""A gate that refuses one skin type far more often than another is named; few attempts name nobody.

golden/unequal_rejections.txt holds the messages. After a wanted change: `python tests/pipelines/test_rejection_rates.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.produce.rejection_rates import ANY, RejectionTally, rejection_rate, unequal_rejections, wilson
from pipelines.produce.result import RejectionRate
from schemas.ledger import GATES, AttemptRow
from schemas.words import Lesion, Modality

GOLDEN = Path(__file__).parent / "golden" / "unequal_rejections.txt"


def rates(
    gate: str, *counts: tuple[int | None, int, int], modality: Modality = Modality.PHANTOM
) -> list[RejectionRate]:
    """Return rates from (FST, refused, judged)."""
    return [rejection_rate(modality, fst, gate, judged, refused) for fst, refused, judged in counts]


def messages() -> list[str]:
    """Return the lines of three gates that work less well for some."""
    found = rates("lesion", (1, 10, 200), (3, 20, 200), (6, 60, 200)) + rates("outlier", (2, 0, 300), (5, 30, 100))
    found += rates(ANY, (1, 40, 400), (6, 90, 100), modality=Modality.CLINICAL)
    return unequal_rejections(found, 1.5)


def test_the_lines_are_as_agreed() -> None:
    assert "\n".join(messages()) + "\n" == GOLDEN.read_text(encoding="utf-8"), "changed; see this file's docstring"


def test_few_attempts_name_nobody() -> None:
    assert not unequal_rejections(rates("tone", (1, 0, 8), (6, 3, 8)), 1.5)  # 3 of 8 against 0 of 8 may be chance
    assert unequal_rejections(rates("tone", (1, 0, 80), (6, 30, 80)), 1.5)


def test_a_difference_within_the_bound_is_no_warning() -> None:
    counts = ((1, 1000, 10_000), (6, 1400, 10_000))
    assert not unequal_rejections(rates("tone", *counts), 1.5)
    assert unequal_rejections(rates("tone", *counts), 1.3)


def test_an_unknown_skin_type_and_another_modality_are_not_compared() -> None:
    apart = rates("tone", (1, 0, 500)) + rates("tone", (6, 400, 500), modality=Modality.CLINICAL)
    assert not unequal_rejections(apart, 1.5)
    assert not unequal_rejections(rates("tone", (1, 0, 500), (None, 400, 500)), 1.5)


@given(st.integers(1, 5000), st.data())
def test_equal_rates_are_never_unequal(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n + 1e-12
    assert hits / n - 1e-12 <= high <= 1
    assert not unequal_rejections(rates("tone", *((fst, hits, n) for fst in range(1, 7))), 1)


def attempt(fst: int, **changes: object) -> AttemptRow:
    verdicts = {f"{gate}_passed": True for gate in GATES} | {f"{gate}_score": 1.0 for gate in GATES}
    about = {"image_id": "a", "modality": Modality.PHANTOM, "fst": fst, "lesion": Lesion.NEVUS, "seed_index": 0,
             "generator": "g", "checkpoint_sha256": "c", "sampler": "{}", "ita_deg": 1.0, "accepted": True}  # fmt: skip
    return AttemptRow.model_validate({**about, **verdicts, "reason": None, "choice": None, **changes})


def test_every_gate_counts_for_itself_and_abstentions_do_not() -> None:
    tally = RejectionTally()
    tally.add(attempt(1))
    tally.add(attempt(1, tone_passed=False, copy_passed=False, accepted=False, reason="tone"))
    tally.add(attempt(6, tone_probe_score=None))
    tally.add(attempt(6, accepted=False, reason="surplus"))
    found = {(r.fst, r.gate): (r.refused, r.judged) for r in tally.rates()}
    assert found[1, "tone"] == found[1, "copy"] == found[1, ANY] == (1, 2)  # also where another gate was first
    assert found[1, "blank"] == (0, 2)
    assert found[6, "tone_probe"] == (0, 1)
    assert found[6, ANY] == (0, 2)  # a surplus image was refused by nobody
    assert [r.gate for r in tally.rates() if r.fst == 1] == [*GATES, ANY]


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_that_always_abstains_has_no_rate(gate: str) -> None:
    if gate not in ("tone_probe", "outlier"):
        return
    tally = RejectionTally()
    tally.add(attempt(2, **{f"{gate}_score": None}))
    assert gate not in {r.gate for r in tally.rates()}


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(messages()) + "\n", encoding="utf-8")
