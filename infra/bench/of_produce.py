"""Mass production: what it costs over the bare sampling loop, two Dask workers against one, and memory.

overhead   the produce flow on one thread (server, tasks, gates, encoding, writing, settling; everything loaded before)
           against generator.sample() on the very same attempts in the very same batches, both in this process; wall and
           CPU time, because other work on the machine disturbs the first
dask       blocks a second between the first and the last block, 2 workers against 1, one torch thread each
memory     peak resident memory of 20,000 accepted images against 2,000 (a trivial generator)
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[2] / "tests/pipelines"
"""Where the small workspaces are."""
IMAGES = 480
DASK_IMAGES = 192


def measure(_args: argparse.Namespace) -> dict[str, Any]:
    """Return the three parts."""
    os.environ["OMP_NUM_THREADS"] = "1"
    return {"overhead": _apart("overhead"), "dask": _dask(), "memory": _memory()}


def _apart(*part: str) -> Any:
    """Return what a part says when run in a process of its own."""
    root = TESTS.parents[1]
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{TESTS}"}
    done = subprocess.run([sys.executable, __file__, *part], env=env, stdout=subprocess.PIPE, text=True, check=True)
    import json

    return json.loads(done.stdout.splitlines()[-1])


def overhead() -> dict[str, Any]:
    """Return seconds of the flow and of the bare loop."""
    from flow_workspace import write_flow_workspace

    from flows.server import local_server
    from schemas.words import Lesion

    with tempfile.TemporaryDirectory() as scratch:
        quotas = {(5, Lesion.MELANOMA): IMAGES // 2, (6, Lesion.NEVUS): IMAGES // 2}
        workspace, params = write_flow_workspace(Path(scratch), quotas, generator="diffusion", block=24)
        os.chdir(scratch)
        with local_server(workspace) as server:
            server.wait()
            from pipelines.embedding.extractor import default_extractor
            from pipelines.generators.interface import Condition
            from pipelines.produce.calibrate import calibrate_gates
            from pipelines.produce.identity import requested_ita
            from pipelines.produce.models import trained_generator
            from pipelines.produce.plan import plan_production
            from pipelines.produce.schedule import Schedule

            calibrate_gates(workspace, params)
            plan, generator = plan_production(workspace, params), trained_generator(workspace, params, "diffusion")
            import numpy as np

            default_extractor()(np.zeros((32, 64, 64, 3), np.uint8))
            generator.sample([Condition(plan.strata[0].modality, 5, Lesion.NEVUS, 0.0)] * 24, ["0" * 24] * 24)
            from flows.engine import threads
            from flows.produce import produce

            one_thread = produce.with_options(task_runner=threads(1))
            whole = _timed(lambda: one_thread())
            schedule = Schedule(workspace, plan)
            assert schedule.missing() == []

            def bare() -> None:
                for stratum in plan.strata:
                    for block in schedule.blocks(stratum):
                        keys = plan.image_ids(stratum, block.start, block.stop)
                        asked = [
                            Condition(
                                stratum.modality, stratum.fst, stratum.lesion, requested_ita(k, stratum.request_deg)
                            )
                            for k in keys
                        ]
                        generator.sample(asked, keys)

            alone = _timed(bare)
        attempts = sum(block.stop - block.start for stratum in plan.strata for block in schedule.blocks(stratum))
    return {
        "attempts": attempts,
        "flow": whole,
        "bare_loop": alone,
        "overhead_wall": whole["wall_s"] / alone["wall_s"] - 1,
        "overhead_cpu": whole["cpu_s"] / alone["cpu_s"] - 1,
    }


def _timed(work: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def _dask() -> dict[str, Any]:
    sys.path.insert(0, str(TESTS))
    from flow_workspace import STAGE, stage_environment, write_flow_workspace

    from schemas.words import Lesion

    rates = {}
    with tempfile.TemporaryDirectory() as scratch:
        quotas = {(5, Lesion.MELANOMA): DASK_IMAGES}
        for workers in (1, 2):
            folder = Path(scratch) / str(workers)
            workspace, _ = write_flow_workspace(folder, quotas, generator="diffusion", block=8, workers=workers)
            if workers == 2:
                shutil.copytree(Path(scratch) / "1/production/gates", workspace.production / "gates")
            subprocess.run(STAGE, cwd=folder, env=stage_environment(EQUIDERM_ENGINE="dask"), check=True)
            ends = sorted(file.stat().st_mtime for file in workspace.blocks.iterdir())
            rates[workers] = (len(ends) - 1) / (ends[-1] - ends[0])
    return {"blocks_per_s": rates, "ratio": rates[2] / rates[1], "cores": os.cpu_count()}


def _memory() -> dict[str, Any]:
    small, large = _apart("memory", "2000"), _apart("memory", "20000")
    return {"2000": small, "20000": large, "ratio": large["peak_mib"] / small["peak_mib"]}


def memory(images: int) -> dict[str, float]:
    """Return the peak of this process after a production of `images` accepted images, MiB, and its seconds."""
    from production_workspace import PatchworkGenerator, ThumbnailExtractor, precalibrate, write_workspace

    from pipelines.produce.run import produce_quotas
    from schemas.params import GateParams
    from schemas.words import Lesion

    with tempfile.TemporaryDirectory() as scratch:
        quotas = {(5, Lesion.MELANOMA): images // 2, (6, Lesion.NEVUS): images - images // 2}
        gates = GateParams(lesion_min_probability=0.0, tone_tolerance_deg=8)
        workspace, params = write_workspace(Path(scratch), quotas, gates=gates, block=24)
        precalibrate(workspace, params)
        begun = time.perf_counter()
        made = produce_quotas(workspace, params, generator=PatchworkGenerator(), extractor=ThumbnailExtractor())
        seconds = time.perf_counter() - begun
    assert made.accepted == images
    # Not ru_maxrss, which has the parent's in it.
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    return {"peak_mib": peak, "seconds": seconds, "attempts": made.attempts}


if __name__ == "__main__":
    import json

    part, *rest = sys.argv[1:]
    print(json.dumps(overhead() if part == "overhead" else memory(int(rest[0]))))
