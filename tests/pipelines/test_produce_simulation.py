"""The simulated production against arithmetic, against itself, and against real ones run here."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from production_workspace import PlantingGenerator, ThumbnailExtractor, precalibrate, write_workspace

from pipelines.produce.blocks import produce_block, timed_round
from pipelines.produce.estimate import WhatIf, estimate_production
from pipelines.produce.pace import Cost, Pace, fit_cost, pace_of
from pipelines.produce.plan import plan_production
from pipelines.produce.rates import MOST_LINES, read_timings, record
from pipelines.produce.schedule import Schedule
from pipelines.produce.settle import settle_production
from pipelines.produce.simulate import Job, simulate
from schemas.errors import UserError
from schemas.params import GateParams, Params
from schemas.paths import Workspace
from schemas.strata import QuotaRow
from schemas.table import read_rows, write_rows
from schemas.timing import Timing
from schemas.words import Lesion


def pace(seconds: float = 1.0, **others: Any) -> Pace:
    usual: dict[str, Any] = {
        "seconds": np.array([seconds]), "sharing": (1.0, 1.0), "bytes": np.array([1000.0]), "first": 0.0, "start": np.empty(0),
        "overhead": 0.0, "schedule": Cost(), "settle": Cost(), "settled_bytes": 0.0, "device": "cpu", "scaled_from": None,
    }  # fmt: skip
    return Pace(**{**usual, **others})


SURE = Job(quota=100, limit=500, accepted=10**7, attempts=10**7)
PLAY: dict[str, Any] = {"workers": 1, "block": 10, "confidence": 0.8}


def test_a_sure_job_takes_what_arithmetic_says() -> None:
    found = simulate([SURE], pace(2.0, first=5.0, settle=Cost(1.0, 0.1), start=np.array([7.0])), **PLAY)
    for run in found:
        assert run.attempts.tolist() == [134]  # 100 / 0.75, the first round
        assert run.seconds == pytest.approx(7 + 5 + 134 * 2 + 1 + 13.4)
        assert run.worker_seconds == pytest.approx(5 + 134 * 2)


@pytest.mark.parametrize("workers", [2, 4, 7])
def test_workers_share_the_blocks(workers: int) -> None:
    (run, *_) = simulate([SURE], pace(), **{**PLAY, "workers": workers})
    blocks = 14
    assert run.seconds == pytest.approx(np.ceil(blocks / workers) * 134 / blocks, rel=0.06)


jobs = st.lists(
    st.builds(
        lambda quota, per, n, k: Job(quota, quota * per, min(k, n), n),
        st.integers(1, 60), st.integers(1, 6), st.integers(0, 80), st.integers(0, 80),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(jobs)
def test_no_run_makes_more_than_quotas_or_tries_more_than_limits(found: list[Job]) -> None:
    first, again = (simulate(found, pace(), **PLAY) for _ in range(2))
    assert [r.seconds for r in first] == [r.seconds for r in again]
    for run in first:
        for job, attempts, made in zip(found, run.attempts, run.made, strict=True):
            assert made <= min(job.quota, attempts)
            assert attempts <= job.limit
            assert made == job.quota or attempts == job.limit


def test_a_million_images_are_played_in_seconds() -> None:
    many = [Job(quota=50_000, limit=250_000, accepted=40, attempts=100) for _ in range(20)]
    begun = time.monotonic()
    found = simulate(many, pace(0.1), workers=16, block=24, confidence=0.8)
    assert time.monotonic() - begun < 20
    assert all(run.made.sum() <= 10**6 for run in found)
    assert len(found) >= 8


def test_costs_are_a_line_through_what_was_measured() -> None:
    def took(attempts: int, seconds: float) -> Timing:
        return Timing(what="settle", attempts=attempts, seconds=seconds)

    assert fit_cost([]) == Cost()
    assert fit_cost([took(100, 3.0)]) == Cost(each=pytest.approx(0.03))
    line = fit_cost([took(n, 2 + 0.01 * n) for n in (10, 100, 1000)])
    assert (line.fixed, line.each) == (pytest.approx(2), pytest.approx(0.01))
    assert fit_cost([took(0, 1.0), took(0, 3.0)]) == Cost(fixed=2.0)


def block(workers: int, seconds: float, busy: float, what: Any = "block") -> Timing:
    return Timing(what=what, generator="diffusion", workers=workers, attempts=10, blocks=1, seconds=seconds, busy=busy)


def test_two_workers_on_one_core_take_twice_as_long_and_sleepers_do_not() -> None:
    def at_two(busy: float, cores: int) -> tuple[float, float]:
        found = pace_of([block(1, 10, busy)] * 9, ["diffusion"], 2, cores)
        assert found is not None
        assert (found.scaled_from, found.seconds.tolist()) == (1, [1.0] * 9)
        return found.sharing

    assert at_two(10, 1) == (2.0, 2.0)
    assert at_two(10, 2) == (1.0, 2.0)  # or no gain at all: what was not measured is not known
    assert at_two(15, 2) == (1.5, 2.0)  # each keeps one and a half cores busy
    assert at_two(0.1, 1) == (1.0, 2.0)
    measured = pace_of([block(1, 10, 10)] * 9 + [block(2, 13, 9)] * 5, ["diffusion"], 2, 2)
    assert measured is not None
    assert (measured.scaled_from, measured.sharing, measured.seconds.tolist()) == (None, (1.0, 1.0), [1.3] * 5)


def test_other_generators_and_other_devices_do_not_count() -> None:
    assert pace_of([block(1, 10, 10)], ["gan"], 1, 2) is None
    mixed = [block(1, 10, 10), block(1, 1, 1).model_copy(update={"device": "cuda"})]
    found = pace_of(mixed, ["diffusion"], 1, 2)
    assert found is not None
    assert (found.device, found.seconds.tolist()) == ("cuda", [0.1])


def test_timings_are_kept_to_the_newest_and_nonsense_is_left_out(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert read_timings(workspace) == []
    for i in range(2 * MOST_LINES + 50):
        if i == 100:
            with workspace.timings.open("a", encoding="utf-8") as handle:
                handle.write("{not json\n" + '{"what": "lunch", "seconds": 3600}\n')
        record(workspace, Timing(what="start", seconds=float(i)))
    found = read_timings(workspace)
    assert len(found) <= 2 * MOST_LINES
    assert found[-1].seconds == 2 * MOST_LINES + 49


class SleepingGenerator(PlantingGenerator):
    """Takes 20 ms an image, whatever the machine is doing."""

    def sample(self, conditions, keys):  # type: ignore[no-untyped-def]
        """Return one image a key."""
        time.sleep(0.02 * len(keys))
        return super().sample(conditions, keys)


QUOTAS = {(5, Lesion.MELANOMA): 8, (6, Lesion.NEVUS): 8}
GATES = GateParams(lesion_min_probability=0.0, tone_tolerance_deg=8)


def really(workspace: Workspace, params: Params, workers: int) -> float:
    """Return the seconds of a production by `workers` threads, from its plan to its ledger."""
    begun = time.monotonic()
    plan = plan_production(workspace, params, SleepingGenerator())
    schedule = Schedule(workspace, plan)

    def make(one: Any) -> Any:
        return produce_block(
            workspace, params, plan, one, generator=SleepingGenerator(), extractor=ThumbnailExtractor()
        )

    with ThreadPoolExecutor(workers) as pool:
        while blocks := schedule.missing():
            timed_round(workspace, params, lambda todo=blocks: pool.map(make, todo))  # type: ignore[misc]
    settle_production(workspace, params, plan, schedule)
    return time.monotonic() - begun


def fresh(root: Path, workers: int, quotas: Any = None) -> tuple[Workspace, Params]:
    workspace, params = write_workspace(root, quotas or QUOTAS, gates=GATES, workers=workers)
    precalibrate(workspace, params)
    return workspace, params


def test_the_prediction_holds_for_a_larger_production_and_for_more_workers(tmp_path: Path) -> None:
    """Measured on 16 images by 1 worker; predicted for 36 images by 1 and by 2, then run."""
    measured, params = fresh(tmp_path / "measured", 1)
    really(measured, params, 1)
    ratios = []
    for workers in (1, 2):
        asked = estimate_production(measured, params, WhatIf(images=36, workers=workers))
        assert asked.hours is not None
        quotas = {(5, Lesion.MELANOMA): 18, (6, Lesion.NEVUS): 18}
        ratios.append(really(*fresh(tmp_path / str(workers), workers, quotas), workers) / (3600 * asked.hours.expected))
    assert all(0.5 < ratio < 2 for ratio in ratios), ratios


def test_gpu_hours_are_those_of_a_measured_device(tmp_path: Path) -> None:
    workspace, params = fresh(tmp_path, 1)
    really(workspace, params, 1)
    assert estimate_production(workspace, params).gpu_hours is None
    for timing in read_timings(workspace):
        if timing.what == "block":
            record(workspace, timing.model_copy(update={"device": "cuda"}))
    found = estimate_production(workspace, params)
    assert found.device == "cuda"
    assert found.gpu_hours is not None
    assert 0 < found.gpu_hours.low <= found.gpu_hours.expected <= found.gpu_hours.high
    assert found.bytes is not None
    assert found.bytes.low > 1000
    assert found.hours is not None
    assert found.strata[0].hours is not None


def test_what_cannot_be_had_is_listed_with_its_reason(tmp_path: Path) -> None:
    workspace, params = fresh(tmp_path, 1)
    rows = read_rows(workspace.quotas, QuotaRow)
    rows[0] = rows[0].model_copy(update={"need": 7, "reason": "phantom/I/nevus: 0 real training images"})
    write_rows(rows, QuotaRow, workspace.quotas)
    (short,) = estimate_production(workspace, params).infeasible
    assert (short.missing, short.reason) == (7, "phantom/I/nevus: 0 real training images")


def test_images_of_no_quota_are_refused(tmp_path: Path) -> None:
    workspace, params = fresh(tmp_path, 1)
    write_rows(
        [r.model_copy(update={"quota": 0}) for r in read_rows(workspace.quotas, QuotaRow)], QuotaRow, workspace.quotas
    )
    with pytest.raises(UserError, match=r"--images 100: no stratum has a quota to share them out by"):
        estimate_production(workspace, params, WhatIf(images=100))
