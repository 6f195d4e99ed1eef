"""All pairs of images whose hashes differ in few bits, found exactly without comparing every pair.

Two 64-bit hashes that differ in at most T bits differ in few bits in at least one of their four 16-bit words: with
allowances r1..r4 per word and T = sum(r + 1) - 1, at least one word stays within its allowance (the general pigeonhole
principle; Qin et al. 2018, "GPH"; with equal allowances Norouzi et al. 2012, multi-index hashing). So each word is a
table of buckets, and only the buckets within the allowance are opened. Every pair found is then compared in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.hashing import POSES

WORDS: Final = 4
_VALUES: Final = 1 << 16
AT_ONCE: Final = 1 << 20
"""Pairs compared at once: bounds the memory beside the tables."""

MOST_BITS: Final = 15
"""Beyond 3 bits a word (697 of 65,536 buckets) the tables save too little."""


@dataclass(frozen=True)
class Near:
    """Pairs of images a, b (places in the list, a < b): image a in `pose` and image b differ in `bits` bits."""

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    pose: NDArray[np.int8]
    bits: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class _Table:
    """Places of the hashes, ordered by one of their words; bucket v is order[start[v]:start[v + 1]]."""

    order: NDArray[np.int32]
    start: NDArray[np.int64]


def near_pairs(posed: NDArray[np.uint64], bits: int) -> Iterator[Near]:
    """Yield every pair whose hashes differ in at most `bits` bits in some pose, a few at a time.

    A pair may come more than once: in several poses, or found by several words. `posed` is (8, N): the hashes of each
    image in the 8 poses, pose 0 first.

    Raises:
        ValueError: bits is not 0 to 15.
    """
    if not 0 <= bits <= MOST_BITS:
        raise ValueError(f"got {bits} bits; near_pairs needs 0 to {MOST_BITS}")
    tables = [_table(_word(posed[0], word)) for word in range(WORDS)]
    for word, allowance in enumerate(allowances(bits)):
        for pose in range(POSES):
            wanted = _word(posed[pose], word)
            for mask in _masks(allowance):
                for a, b in _open(tables[word], wanted ^ mask):
                    apart = np.bitwise_count(posed[pose][a] ^ posed[0][b])
                    near = apart <= bits
                    if near.any():
                        yield Near(a[near], b[near], np.full(near.sum(), pose, np.int8), apart[near].astype(np.int8))


def allowances(bits: int) -> list[int]:
    """Return how many bits each word may differ in (-1: the word need not be looked at) so that no pair is missed."""
    return [(bits + 1 + word) // WORDS - 1 for word in range(WORDS)]


def _word(values: NDArray[np.uint64], word: int) -> NDArray[np.uint16]:
    return (values >> np.uint64(16 * word)).astype(np.uint16)


def _masks(allowance: int) -> list[np.uint16]:
    return [
        np.uint16(sum(1 << bit for bit in chosen))
        for count in range(allowance + 1)
        for chosen in combinations(range(16), count)
    ]


def _table(words: NDArray[np.uint16]) -> _Table:
    start = np.zeros(_VALUES + 1, np.int64)
    np.cumsum(np.bincount(words, minlength=_VALUES), out=start[1:])
    return _Table(np.argsort(words, kind="stable").astype(np.int32), start)


def _open(table: _Table, wanted: NDArray[np.uint16]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Yield pairs (a, b) with a < b: every image a with every image b in the bucket it wants, `AT_ONCE` at a time."""
    first = table.start[wanted]
    count = table.start[wanted.astype(np.int32) + 1] - first
    rows = np.flatnonzero(count).astype(np.int32)
    first, count = first[rows], count[rows]
    ends = np.cumsum(count)
    low = 0
    while low < len(rows):
        done = ends[low - 1] if low else 0
        high = max(int(np.searchsorted(ends, done + AT_ONCE, side="right")), low + 1)
        sizes = count[low:high]
        a = np.repeat(rows[low:high], sizes)
        within = np.arange(len(a)) - np.repeat(ends[low:high] - sizes - done, sizes)
        b = table.order[np.repeat(first[low:high], sizes) + within]
        ahead = a < b
        yield a[ahead], b[ahead]
        low = high
