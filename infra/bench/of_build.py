"""The main job on the default params in a fresh clone, and again with nothing changed: seconds and peak memory."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and peak resident memory (all processes together) of a build and of unchanged reruns."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "equiderm"
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ".", str(clone)], check=True)
        first = _build(clone)
        again = [_build(clone) for _ in range(args.repeats)]
    return {
        "build": first,
        "unchanged": {"seconds": statistics.median(a["seconds"] for a in again), "runs": again},
    }


def _build(clone: Path) -> dict[str, float]:
    bin_dir = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(clone)}
    start = time.perf_counter()
    process = subprocess.Popen([bin_dir / "equiderm", "build"], cwd=clone, env=env, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process.pid))
        time.sleep(0.2)
    if process.returncode != 0:
        raise SystemExit(f"equiderm build ended with {process.returncode}; see its output above")
    return {"seconds": time.perf_counter() - start, "peak_gib": peak / 2**30}


def _resident(pid: int) -> int:
    """Return the proportional memory (shared pages counted once) of a process and all below it, bytes."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total
