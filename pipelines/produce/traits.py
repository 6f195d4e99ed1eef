"""What decisions need of an attempt: which gate refused it and where to look for its likes. Never its pixels.

113 bytes an attempt stay in memory; images and thumbnails stay in the block files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.produce.attempts import BlockRow, thumbs_of
from pipelines.produce.gates import GATES
from pipelines.produce.likeness import POSES, ring_means, turned_hashes

NOT_REFUSED = -1
_PLACES = {gate: place for place, gate in enumerate(GATES)}


@dataclass(frozen=True)
class Traits:
    """Attempts in seed order."""

    refused: NDArray[np.int8]  # (n,) place in GATES of the first gate that failed, or NOT_REFUSED
    hashes: NDArray[np.uint64]  # (n, 8) difference hash in every pose
    rings: NDArray[np.float32]  # (n, 12) see likeness.ring_means

    def __len__(self) -> int:
        return len(self.refused)

    def __getitem__(self, which: slice | Sequence[int] | NDArray[np.integer]) -> Traits:
        """Return some of them."""
        chosen = which if isinstance(which, slice) else np.asarray(which, np.intp)
        return Traits(self.refused[chosen], self.hashes[chosen], self.rings[chosen])


def traits_of(rows: Sequence[BlockRow]) -> Traits:
    """Return the traits of a block's rows."""
    thumbs = thumbs_of(rows)
    failed = (row.first_failed() for row in rows)
    refused = [NOT_REFUSED if gate is None else _PLACES[gate] for gate in failed]
    return Traits(np.array(refused, np.int8), turned_hashes(thumbs), ring_means(thumbs))


def joined(parts: Sequence[Traits]) -> Traits:
    """Return several one after the other."""
    if not parts:
        return Traits(np.empty(0, np.int8), np.empty((0, POSES), np.uint64), np.empty((0, 12), np.float32))
    return Traits(
        np.concatenate([part.refused for part in parts]),
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.rings for part in parts]),
    )
