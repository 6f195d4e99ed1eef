"""How far samples of each FST x lesion cell are from phantoms of it, and how much more training a cell is worth for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.distance import kid
from pipelines.embedding.extractor import Extractor
from pipelines.generators.interface import Condition
from pipelines.probes.lesion import one_blas_thread
from pipelines.train.data import Stratum, TrainingSet, stratum_of
from schemas.words import FST_RANGE

MOST_WORTH: Final = 6.0
"""A cell is worth no more than this many times the mean, no less than that part of it."""

WELL_DRAWN: Final = 0.6
"""A cell whose KID is below this share of the cells' mean is drawn well, and is to stay as it is."""

HARM: Final = 1.2
"""A skin type is worse off if its KID is more than this many times what it was. With 512 samples a
type its standard deviation was 11 to 17% of it (docs/log.md, 2026-11-27)."""

Floats = NDArray[np.float64]


class CellJudge:
    """Measures samples against phantoms that no training sees; their features are computed once."""

    def __init__(self, real: TrainingSet, extractor: Extractor) -> None:
        self._extract = extractor
        self._real, self._places = self._features(real.pixels.numpy()), _places(real.conditions)

    def __call__(
        self, pixels: NDArray[np.uint8], conditions: Sequence[Condition]
    ) -> tuple[dict[Stratum, float], dict[int, float]]:
        """Return the KID of the samples of each cell, and of each Fitzpatrick type; what has under 2 of a kind has none."""
        made, places = self._features(pixels), _places(conditions)
        of_cell = {cell: self._kid(made, places[cell], self._places.get(cell, [])) for cell in places}
        of_type = {fst: self._kid(made, _of(fst, places), _of(fst, self._places)) for fst in FST_RANGE}
        return (
            {cell: value for cell, value in of_cell.items() if value is not None},
            {fst: value for fst, value in of_type.items() if value is not None},
        )

    def _kid(self, made: Floats, some: Sequence[int], real: Sequence[int]) -> float | None:
        if min(len(some), len(real)) < 2:
            return None
        with one_blas_thread():
            return kid(made[list(some)], self._real[list(real)])

    def _features(self, pixels: NDArray[np.uint8]) -> Floats:
        return self._extract(pixels).astype(np.float64)


def worth(of_cell: Mapping[Stratum, float]) -> dict[Stratum, float]:
    """Return each cell's weight in training, mean about 1: its KID over the cells' mean, within `MOST_WORTH` either way.

    The worst cells get the most, as a group-robust loss would give them (Sagawa et al. 2020), but by what is seen of their
    samples, not by their loss: a cell's loss says how hard its noise is, not how far off its pictures are.
    """
    return {cell: float(np.clip(share, 1 / MOST_WORTH, MOST_WORTH)) for cell, share in _over_the_mean(of_cell).items()}


def well_drawn(of_cell: Mapping[Stratum, float]) -> set[Stratum]:
    """Return the cells that a round is to leave as they are: those whose KID is below `WELL_DRAWN` of the cells' mean.

    They are nevi, basal cell carcinomas and dark skin, on which hairs and fissures stand out less. Rounds that learned from
    light skin, three times as much, made types V and VI worse by half (docs/decisions/0022): they have to be held on to, not
    merely weighed less.
    """
    return {cell for cell, share in _over_the_mean(of_cell).items() if share < WELL_DRAWN}


def _over_the_mean(of_cell: Mapping[Stratum, float]) -> dict[Stratum, float]:
    """Return each cell's KID over the cells' mean; 1 for all where none has any. An unbiased KID below 0 counts as 0."""
    kids = {cell: max(kid, 0.0) for cell, kid in of_cell.items()}
    mean = sum(kids.values()) / max(len(kids), 1)
    return {cell: kid / mean if mean else 1.0 for cell, kid in kids.items()}


def best_for_all(before: Mapping[int, float], rounds: Sequence[Mapping[int, float]]) -> int | None:
    """Return the place of the round whose worst skin type has the lowest KID, of those that make no type worse; None if all do.

    Quality that is even because dark skin got worse is not what anybody asked for (docs/decisions/0022).

    Args:
        before: each type's KID before the first round.
        rounds: each type's KID after each.
    """
    harmless = [
        i
        for i, after in enumerate(rounds)
        if all(after[fst] <= HARM * max(before[fst], 0.0) for fst in before)
        and max(after.values()) < max(before.values())
    ]
    return min(harmless, key=lambda i: max(rounds[i].values()), default=None)


def marginal_shares(weights: Mapping[Stratum, float], lesions: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the shares of types I to VI and of the lesions in a training whose cells have these weights."""
    total = sum(weights.values())
    by_fst = [sum(w for (_, fst, _), w in weights.items() if fst == f) / total for f in FST_RANGE]
    by_lesion = [sum(w for (_, _, lesion), w in weights.items() if lesion == name) / total for name in lesions]
    return by_fst, by_lesion


def _places(conditions: Sequence[Condition]) -> dict[Stratum, list[int]]:
    result: dict[Stratum, list[int]] = {}
    for i, condition in enumerate(conditions):
        result.setdefault(stratum_of(condition), []).append(i)
    return result


def _of(fst: int, places: Mapping[Stratum, list[int]]) -> list[int]:
    return [i for cell, some in places.items() if cell[1] == fst for i in some]
