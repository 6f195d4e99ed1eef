"""1,200 phantoms at 64 px on one core."""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from pipelines.phantoms.scene import draw
from schemas.source_params import PhantomSource


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds for 1,200 phantoms, median of the repeats."""
    seconds = []
    for repeat in range(args.repeats):
        source = PhantomSource(count=1200, seed=100 + repeat)
        start = time.perf_counter()
        for index in range(source.count):
            draw(source, index)
        seconds.append(time.perf_counter() - start)
    return {"phantoms": 1200, "resolution_px": 64, "cores": 1, "seconds": statistics.median(seconds), "runs": seconds}
