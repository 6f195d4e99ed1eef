"""How often each gate refuses each skin type. A gate that refuses one far more often than another is itself unfair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from typing import Final

from pipelines.produce.result import RejectionRate
from schemas.ledger import GATES, SURPLUS, AttemptRow
from schemas.words import FST_ROMAN, Modality

ANY: Final = "any"
"""In the place of a gate's name: refused by at least one."""

_Cell = tuple[Modality, int | None, str]


class RejectionTally:
    """Counts of attempts judged and refused, by modality, skin type and gate."""

    def __init__(self) -> None:
        self._judged: Counter[_Cell] = Counter()
        self._refused: Counter[_Cell] = Counter()

    def add(self, row: AttemptRow) -> None:
        """Count an attempt. Every gate's own verdict counts, also where another gate was first; not its abstentions."""
        judged = [gate for gate in GATES if getattr(row, f"{gate}_score") is not None]
        verdicts = {gate: bool(getattr(row, f"{gate}_passed")) for gate in judged}
        verdicts[ANY] = row.reason in (None, SURPLUS)
        for gate, passed in verdicts.items():
            cell = (row.modality, row.fst, gate)
            self._judged[cell] += 1
            self._refused[cell] += not passed

    def rates(self) -> list[RejectionRate]:
        """Return the rates by modality, gate and skin type; those of nobody's skin type last."""
        order = (*GATES, ANY)
        cells = sorted(self._judged, key=lambda c: (c[0], order.index(c[2]), c[1] or 99))
        return [rejection_rate(*cell, self._judged[cell], self._refused[cell]) for cell in cells]


def rejection_rate(modality: Modality, fst: int | None, gate: str, judged: int, refused: int) -> RejectionRate:
    """Return a rate with its interval; `judged` is 1 or more."""
    low, high = wilson(refused, judged)
    about = {"modality": modality, "fst": fst, "gate": gate, "judged": judged, "refused": refused}
    return RejectionRate.model_validate({**about, "rate": refused / judged, "low": low, "high": high})


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the interval of a share, 0-1 (Wilson 1927): unlike the normal one it holds for few attempts and near 0."""
    share, width = hits / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / width
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / width
    return max(0.0, centre - half), min(1.0, centre + half)


def unequal_rejections(rates: Sequence[RejectionRate], most: float) -> list[str]:
    """Return one line a gate whose worst rate of a skin type is more than `most` times its best.

    Guard against small numbers: the two 95% intervals must lie apart too, which of six types' extremes happens by chance
    far less often than a ratio of two does. Images of unknown skin type are not compared.
    """
    lines = []
    known = [rate for rate in rates if rate.fst is not None]
    for modality, gate in dict.fromkeys((rate.modality, rate.gate) for rate in known):
        mine = [rate for rate in known if (rate.modality, rate.gate) == (modality, gate)]
        worst, best = max(mine, key=lambda r: r.low), min(mine, key=lambda r: r.high)
        if worst.low > best.high and worst.rate > most * best.rate:
            lines.append(_line(modality, gate, worst, best, most))
    return lines


def _line(modality: Modality, gate: str, worst: RejectionRate, best: RejectionRate, most: float) -> str:
    said = "the gates together refuse" if gate == ANY else f"the {gate} gate refuses"
    times = f", {worst.rate / best.rate:.1f} times as often" if best.rate else ""
    return (
        f"{modality.value}: {said} {_share(worst)} of FST {FST_ROMAN[worst.fst or 0]} and {_share(best)} of FST "
        f"{FST_ROMAN[best.fst or 0]}{times}; at most {most:g} times as often is allowed (produce.gates.max_rejection_ratio); "
        "the gate or the generator works less well there: look at production/rejected/sheet.png"
    )


def _share(rate: RejectionRate) -> str:
    return f"{rate.rate:.0%} ({rate.refused} of {rate.judged}, {rate.low:.0%} to {rate.high:.0%})"
