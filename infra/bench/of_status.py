"""`equiderm status` on a ledger of 10 million attempts: seconds and peak memory, counting alone and the whole verb."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROWS = int(os.environ.get("EQUIDERM_BENCH_ROWS", "10000000"))
STRATA = 24
LIMIT_S, LIMIT_MIB = 2, 1024
COUNT = """
import json, sys, time
from pathlib import Path
from pipelines.produce.counts import count_ledger
from schemas.paths import Workspace
start = time.perf_counter()
found = count_ledger(Workspace(Path(sys.argv[1])))
seconds = time.perf_counter() - start
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024  # ru_maxrss has the parent's in it
cpu = time.process_time()
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak, "attempts": found.attempts}))
"""
VERB = """
import json, sys, time
from pathlib import Path
from flows.cli import app
start = time.perf_counter()
app(["status", "--json"], standalone_mode=False)
seconds = time.perf_counter() - start
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024  # ru_maxrss has the parent's in it
cpu = time.process_time()
print("\\n" + json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak}))
"""


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the medians over runs in processes of their own; making the ledger is not timed."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "equiderm"
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ".", str(clone)], check=True)
        size = make(clone, ROWS)
        counting = [_run(COUNT, clone, str(clone)) for _ in range(args.repeats)]
        verb = [_run(VERB, clone) for _ in range(args.repeats)]
    found = {name: _median(runs) for name, runs in (("counting", counting), ("verb", verb))}
    within = found["verb"]["seconds"] < LIMIT_S and found["verb"]["peak_mib"] < LIMIT_MIB
    return {
        "rows": ROWS, "ledger_mib": size / 2**20, "first_count_s": counting[0]["seconds"], **found,
        "limit_s": LIMIT_S, "limit_mib": LIMIT_MIB, "within_limits": within,
    }  # fmt: skip


def _run(code: str, folder: Path, *arguments: str) -> dict[str, float]:
    env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=env)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def make(root: Path, rows: int) -> int:
    """Write a ledger of `rows` attempts, a file a stratum as settling cuts it; return its bytes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipelines.produce.settle import LEDGER_GROUP
    from schemas.ledger import AttemptRow
    from schemas.paths import Workspace
    from schemas.table import arrow_schema
    from schemas.words import Lesion, stratum_name

    schema, space, rng, size = arrow_schema(AttemptRow), Workspace(root), np.random.default_rng(1), 0
    space.ledger.mkdir(parents=True)
    lesions = list(Lesion)[: STRATA // 6]
    for number in range(STRATA):
        fst, lesion, n = 1 + number % 6, lesions[number // 6], rows // STRATA + (number < rows % STRATA)
        reasons = np.array([None, "blank", "tone", "lesion", "copy", "duplicate", "surplus"], dtype=object)
        reason = reasons[rng.choice(7, n, p=(0.4, 0.02, 0.13, 0.38, 0.04, 0.02, 0.01))]
        columns = {}
        for field in schema:
            if pa.types.is_boolean(field.type):
                columns[field.name] = pa.array(rng.random(n) < 0.8)
            elif pa.types.is_floating(field.type):
                columns[field.name] = pa.array(rng.integers(0, 10_000, n) / 1e4, field.type)
            elif field.name == "seed_index":
                columns[field.name] = pa.array(np.arange(n), field.type)
            elif pa.types.is_string(field.type):
                columns[field.name] = pa.repeat(pa.scalar("diffusion", field.type), n)
        ids = np.char.mod("%012x", rng.integers(0, 2**48, n))
        columns["image_id"] = pa.array(np.char.add(ids, ids))
        columns["modality"] = pa.repeat(pa.scalar("phantom"), n)
        columns["lesion"] = pa.repeat(pa.scalar(lesion.value), n)
        columns["fst"] = pa.repeat(pa.scalar(fst, pa.int8()), n)
        columns["reason"] = pa.array(reason, pa.string())
        columns["accepted"] = pa.array(reason == None)  # noqa: E711 (element by element)
        path = space.ledger / (stratum_name("phantom", fst, lesion.value).replace("/", "-") + ".parquet")
        table = pa.table([columns[field.name] for field in schema], schema=schema)
        pq.write_table(table, path, compression="zstd", row_group_size=LEDGER_GROUP)
        size += path.stat().st_size
    return size


if __name__ == "__main__":
    print(json.dumps(measure(argparse.Namespace(repeats=3)), indent=2))
