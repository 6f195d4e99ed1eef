"""Comparison of perceptual hashes: 25,000, 50,000 and 100,000 random ones in 8 poses, with planted neighbours."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from typing import Any

SIZES = (25_000, 50_000, 100_000)
PLANTED = 1000
ONE = """
import json, resource, sys, time
import numpy as np
from pipelines.dedupe.confirm import candidates
from pipelines.imaging.hashing import turned
from schemas.params import DedupeParams
count, planted = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(count)
structure = rng.standard_normal((count, 64), dtype=np.float32)
for k in range(planted):  # image k, turned and with noise, is also image count - 1 - k
    noise = rng.standard_normal(64, dtype=np.float32)
    structure[count - 1 - k] = turned(structure[k : k + 1], k % 8)[0] + 0.05 * noise
structure /= np.linalg.norm(structure, axis=1, keepdims=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
pairs = candidates(structure, DedupeParams())
seconds = time.perf_counter() - start
found = {(int(p["a"]), int(p["b"])) for p in pairs}
hits = sum((k, count - 1 - k) in found for k in range(planted))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "hits": hits, "pairs": len(pairs), "grew_mib": (after - before) / 1024}))
"""
"""One size in a process of its own, so that its peak of memory is its own; the hashes are made before the clock starts."""


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return images/s and the growth of memory at each size, and how both scale from the smallest to the largest."""
    import json

    sizes: dict[int, dict[str, Any]] = {}
    for count in SIZES:
        runs = []
        for _ in range(args.repeats):
            command = [sys.executable, "-c", ONE, str(count), str(PLANTED)]
            runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        seconds = statistics.median(run["seconds"] for run in runs)
        sizes[count] = {
            "seconds": seconds,
            "images_per_s": count / seconds,
            "grew_mib": statistics.median(run["grew_mib"] for run in runs),
            "planted_found": f"{runs[0]['hits']} of {PLANTED}",
            "pairs": runs[0]["pairs"],
        }
    least, most = sizes[SIZES[0]], sizes[SIZES[-1]]
    return {
        "sizes": sizes,
        "images_ratio": SIZES[-1] / SIZES[0],
        "memory_ratio": most["grew_mib"] / least["grew_mib"],
        "time_ratio": most["seconds"] / least["seconds"],
    }
