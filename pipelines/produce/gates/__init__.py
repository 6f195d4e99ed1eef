"""The gates, one a file, in the order of `schemas.ledger.GATES`. Each returns a verdict an image: keep, score, reason.

`JUDGES` judge an image by itself; `duplicate` comes after them, at settle, because it needs the images kept before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipelines.produce.gates import blank, copy, decodable, lesion, outlier, tone, tone_probe
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict
from schemas.ledger import GATES as GATES
from schemas.ledger import SURPLUS as SURPLUS

Judge = Callable[[Candidates, Limits], list[Verdict]]

_BY_FILE = (decodable, blank, tone, tone_probe, lesion, outlier, copy)

JUDGES: Final[dict[str, Judge]] = {module.__name__.rpartition(".")[2]: module.judge for module in _BY_FILE}
