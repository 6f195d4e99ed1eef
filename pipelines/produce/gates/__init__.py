"""The gates, cheapest first, one a file. Each returns a verdict an image: keep, score, reason.

`GATES` judge an image by itself; `duplicate` comes after them, at settle, because it needs the images kept before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipelines.produce.gates import blank, copy, lesion, tone
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict

Gate = Callable[[Candidates, Limits], list[Verdict]]

GATES: Final[dict[str, Gate]] = {
    "blank": blank.judge,
    "tone": tone.judge,
    "lesion": lesion.judge,
    "copy": copy.judge,
}

ORDER: Final = (*GATES, "duplicate")
"""The ledger's `reason` is the first of these that failed."""

SURPLUS: Final = "surplus"
"""The `reason` of an image that passed every gate after its stratum was full."""
