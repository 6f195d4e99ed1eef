"""The simulator's prediction against real productions with the shipped diffusion base: wall time of 1 and 2 workers.

A small production by one worker is timed; a larger one is then predicted and run. For two workers that is done twice:
with the times of one worker alone, and after a small production by two was timed.
A ratio of 1 is a prediction that came true. The machine's other load during the runs is part of the error.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MEASURED, PREDICTED = 12, 20
"""Images a stratum: of the productions that are timed, and of those that are predicted."""


def measure(args: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001
    """Return for each number of workers the predicted seconds with their interval, the real ones, and the ratio."""
    sys.path.insert(0, str(Path("tests/pipelines").resolve()))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        workspace, params = _workspace(root / "measured", MEASURED, 1)
        _produce(workspace, params, 1)
        one = _predict(workspace, params, 1)
        one_real = _produce(*_workspace(root / "one", PREDICTED, 1), 1)
        two_unseen = _predict(workspace, params, 2)
        timed, by_two = _workspace(root / "timed", MEASURED, 2)
        _produce(timed, by_two, 2)
        with workspace.timings.open("a", encoding="utf-8") as handle:
            handle.write(timed.timings.read_text(encoding="utf-8"))
        two = _predict(workspace, params, 2)
        two_real = _produce(*_workspace(root / "two", PREDICTED, 2), 2)
    return {
        "images": 2 * PREDICTED,
        "one_worker": _compared(one, one_real),
        "two_workers_timed_with_one": _compared(two_unseen, two_real),
        "two_workers": _compared(two, two_real),
    }


def _predict(workspace: Any, params: Any, workers: int) -> dict[str, Any]:
    from pipelines.produce.estimate import WhatIf, estimate_production

    found = estimate_production(workspace, params, WhatIf(images=2 * PREDICTED, workers=workers))
    assert found.hours is not None
    low, expected, high = (3600 * h for h in (found.hours.low, found.hours.expected, found.hours.high))
    return {"predicted_s": expected, "low_s": low, "high_s": high, "basis": found.basis}


def _compared(predicted: dict[str, Any], real_s: float) -> dict[str, Any]:
    inside = predicted["low_s"] <= real_s <= predicted["high_s"]
    ratio = real_s / predicted["predicted_s"]
    load = os.getloadavg()[0]
    return {**predicted, "real_s": real_s, "real_over_predicted": ratio, "inside_the_interval": inside, "load": load}


def _workspace(root: Path, images: int, workers: int) -> tuple[Any, Any]:
    """Return a workspace of phantoms of 32 px, calibrated."""
    from production_workspace import precalibrate, write_workspace

    from schemas.params import GateParams, SamplerParams
    from schemas.words import Lesion

    gates = GateParams(lesion_min_probability=0.0, tone_tolerance_deg=20)
    quotas = {(5, Lesion.MELANOMA): images, (6, Lesion.NEVUS): images}
    sampler = SamplerParams(steps=6)
    workspace, params = write_workspace(root, quotas, gates=gates, workers=workers, sampler=sampler)
    precalibrate(workspace, params)
    return workspace, params


class _Halved:
    """The shipped base with its 64 px pictures averaged to the 32 px of the test's phantoms."""

    name, resolution = "diffusion", 32

    def __init__(self, base: Any) -> None:
        self._base, self.checkpoint_sha256, self.settings = base, base.checkpoint_sha256, base.settings

    def sample(self, conditions: Any, keys: Any) -> Any:
        """Return uint8 (n, 32, 32, 3)."""
        drawn = self._base.sample(conditions, keys)
        return drawn.reshape(len(keys), 32, 2, 32, 2, 3).mean(axis=(2, 4)).round().astype("uint8")


def _produce(workspace: Any, params: Any, workers: int) -> float:
    """Return the seconds of a production from its plan to its ledger, gates with thumbnails for features."""
    from production_workspace import ThumbnailExtractor

    from pipelines.generators.registry import BASE, load_generator
    from pipelines.produce.blocks import produce_block, timed_round
    from pipelines.produce.plan import plan_production
    from pipelines.produce.schedule import Schedule
    from pipelines.produce.settle import settle_production

    generator = _Halved(load_generator(BASE / "diffusion", params.produce.sampler))
    begun = time.perf_counter()
    plan = plan_production(workspace, params, generator)
    schedule = Schedule(workspace, plan)

    def make(one: Any) -> Any:
        return produce_block(workspace, params, plan, one, generator=generator, extractor=ThumbnailExtractor())

    with ThreadPoolExecutor(workers) as pool:
        while blocks := schedule.missing():
            timed_round(workspace, params, lambda todo=blocks: pool.map(make, todo))  # type: ignore[misc]
    settle_production(workspace, params, plan, schedule)
    return time.perf_counter() - begun
