"""Which attempts are accepted: per stratum the first `quota` that pass, in seed order, no two of a release alike.

The rule looks at seed indices and images alone, so batch size, workers and the order of work cannot change the outcome:
strata in plan order, attempts in seed order, each held against every image kept before it in that order.

Rounds are taken in one after the other, and what a round does not touch is not decided again. A later round may bring
images into an early stratum that a later stratum's image repeats; that stratum is then decided again from there on.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from pipelines.produce.gates import GATES, SURPLUS
from pipelines.produce.gates.duplicate import CLEAR, judge_one, scores_against
from pipelines.produce.gates.verdict import Verdict
from pipelines.produce.likeness import RING_ERROR
from pipelines.produce.plan import ProductionPlan, StratumPlan
from pipelines.produce.traits import NOT_REFUSED, Traits, joined

AT_ONCE: Final = 256
"""Attempts looked up together."""

Thumb = Callable[[str, int], NDArray[np.uint8]]
"""Returns the thumbnail (16, 16, 3) of an attempt, by its stratum's name and its seed index."""

_REASONS: Final = (None, *GATES, SURPLUS)


class Decision(NamedTuple):
    """What became of one attempt: the duplicate gate's score, and the ledger's `reason` (None: accepted)."""

    duplicate_score: float
    reason: str | None

    @property
    def duplicate_passed(self) -> bool:
        """Whether no image kept before it is its like."""
        return self.duplicate_score >= CLEAR

    @property
    def accepted(self) -> bool:
        """Whether the image enters the release."""
        return self.reason is None


@dataclass
class _Pool:
    """Attempts to compare others with."""

    traits: Traits
    strata: NDArray[np.int32]  # (n,) places in the plan
    seed_indices: NDArray[np.int32]  # (n,)
    _tree: cKDTree | None = None

    def near(self, traits: Traits, radius: float) -> list[list[int]]:
        """Return, for each of `traits`, which here may be within `radius` levels of it in some pose; none is missed."""
        if not len(self.traits) or not len(traits):
            return [[]] * len(traits)
        self._tree = self._tree or cKDTree(self.traits.rings)
        found: list[list[int]] = self._tree.query_ball_point(traits.rings, radius, p=1).tolist()
        return found


@dataclass
class _Stratum:
    """What is known and decided of one stratum. Fewer attempts are decided than known only while deciding."""

    plan: StratumPlan
    place: int  # in the plan
    traits: Traits = field(default_factory=lambda: joined([]))
    scores: array[float] = field(default_factory=lambda: array("d"))  # of the duplicate gate
    reasons: array[int] = field(default_factory=lambda: array("b"))  # places in REASONS
    kept: array[int] = field(default_factory=lambda: array("l"))  # seed indices, ascending

    def forget(self, start: int) -> None:
        """Drop the decisions from attempt `start` on."""
        del self.scores[start:], self.reasons[start:]
        del self.kept[bisect_left(self.kept, start) :]

    def pool(self, chosen: Sequence[int] | NDArray[np.int64]) -> _Pool:
        """Return some of its attempts to compare others with."""
        indices = np.asarray(chosen, np.int32)
        return _Pool(self.traits[indices], np.full(len(indices), self.place, np.int32), indices)


def _together(pools: Sequence[_Pool]) -> _Pool:
    none = np.empty(0, np.int32)
    return _Pool(
        joined([pool.traits for pool in pools]),
        np.concatenate([none, *(pool.strata for pool in pools)]),
        np.concatenate([none, *(pool.seed_indices for pool in pools)]),
    )


class Selection:
    """The decisions on every attempt taken in so far."""

    def __init__(self, plan: ProductionPlan, thumb: Thumb) -> None:
        """Decide nothing yet. `thumb` is asked only about pairs that their traits cannot tell apart."""
        self._plan, self._thumb = plan, thumb
        self._strata = {one.name: _Stratum(one, place) for place, one in enumerate(plan.strata)}

    def decisions(self, stratum: str) -> Iterator[Decision]:
        """Yield the decisions on a stratum's attempts, in seed order."""
        one = self._strata[stratum]
        return (Decision(score, _REASONS[reason]) for score, reason in zip(one.scores, one.reasons, strict=True))

    def accepted(self, stratum: str) -> int:
        """Return how many attempts of a stratum are accepted."""
        return len(self._strata[stratum].kept)

    def attempts(self, stratum: str) -> int:
        """Return how many attempts of a stratum are decided."""
        return len(self._strata[stratum].reasons)

    def take(self, found: Mapping[str, Sequence[Traits]]) -> None:
        """Take in the next attempts of some strata, in seed order, and decide what they change."""
        before: list[_Pool] = []
        gained: list[_Pool] = []
        anything_lost = False
        for stratum in self._strata.values():
            stands = 0 if anything_lost else self._first_touched(stratum, _together(gained))
            new = found.get(stratum.plan.name, ())
            if new or stands < len(stratum.reasons):
                stratum.traits = joined([stratum.traits, *new])
                was = np.array(stratum.kept)
                stratum.forget(stands)
                self._decide(stratum, _together(before))
                anything_lost = anything_lost or not np.isin(was, stratum.kept).all()
                gained.append(stratum.pool(np.setdiff1d(stratum.kept, was)))
            before.append(stratum.pool(stratum.kept))

    def _first_touched(self, stratum: _Stratum, gained: _Pool) -> int:
        """Return the first attempt that repeats an image gained in an earlier stratum; how many there are if none."""
        for i, near in enumerate(gained.near(stratum.traits, self._radius(stratum))):
            if near and not judge_one(self._scores(stratum, i, gained, near)).keep:
                return i
        return len(stratum.reasons)

    def _decide(self, stratum: _Stratum, before: _Pool) -> None:
        """Decide the stratum's undecided attempts, given the images kept in the strata before it."""
        radius = self._radius(stratum)
        for start in range(len(stratum.reasons), len(stratum.traits), AT_ONCE):
            chunk = stratum.traits[start : start + AT_ONCE]
            own = stratum.pool(stratum.kept)
            theirs, ours = before.near(chunk, radius), own.near(chunk, radius)
            here = cdist(chunk.rings, chunk.rings, "cityblock") <= radius
            kept_here: list[int] = []
            for i in range(len(chunk)):
                alike = stratum.pool([start + k for k in kept_here if here[i, k]])
                scores = [
                    self._scores(stratum, start + i, pool, near)
                    for pool, near in ((before, theirs[i]), (own, ours[i]), (alike, range(len(alike.traits))))
                    if len(near)
                ]
                duplicate = judge_one(np.concatenate(scores) if scores else np.empty(0))
                reason = self._reason(stratum, chunk.refused[i], duplicate)
                stratum.scores.append(CLEAR if duplicate.score is None else duplicate.score)
                stratum.reasons.append(_REASONS.index(reason))
                if reason is None:
                    stratum.kept.append(start + i)
                    kept_here.append(i)

    def _reason(self, stratum: _Stratum, refused: int, duplicate: Verdict) -> str | None:
        if refused != NOT_REFUSED:
            return GATES[refused]
        if not duplicate.keep:
            return "duplicate"
        return SURPLUS if len(stratum.kept) >= stratum.plan.quota else None

    def _scores(self, stratum: _Stratum, i: int, pool: _Pool, near: Sequence[int]) -> NDArray[np.float64]:
        """Return the duplicate gate's scores of one attempt against those `near` it whose hash is near as well."""
        bits, places = self._plan.gates.duplicate_bits, np.asarray(near)
        apart = np.bitwise_count(stratum.traits.hashes[i][:, None] ^ pool.traits.hashes[places, 0][None]).min(axis=0)
        places = places[apart <= bits]
        if not len(places):
            return np.empty(0)
        strata = self._plan.strata
        others = [self._thumb(strata[pool.strata[at]].name, int(pool.seed_indices[at])) for at in places]
        own = self._thumb(stratum.plan.name, i)
        return scores_against(own[None], np.stack(others), bits=bits, pixel_bound=self._bound(stratum))[0]

    def _bound(self, stratum: _Stratum) -> float:
        return self._plan.calibration.of(stratum.plan.modality).duplicate_pixels

    def _radius(self, stratum: _Stratum) -> float:
        return self._bound(stratum) + RING_ERROR
