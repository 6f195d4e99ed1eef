"""What a person sees of a production: counts that add up, a table, a line, sheets; and a ledger counted afterwards."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from production_workspace import PlantingGenerator, ThumbnailExtractor, precalibrate, write_workspace
from rich.console import Console

from pipelines.produce.blocks import BlockCount, produce_block
from pipelines.produce.counts import count_ledger
from pipelines.produce.plan import plan_production
from pipelines.produce.progress import Progress, StratumProgress, duration, reasons_line
from pipelines.produce.result import load_result
from pipelines.produce.schedule import Schedule
from pipelines.produce.settle import settle_production
from pipelines.produce.sheets import SECONDS, FillingSheets, sheet_path, write_sheets
from schemas.params import GateParams
from schemas.paths import Workspace
from schemas.words import Lesion

QUOTAS = {(5, Lesion.MELANOMA): 6, (6, Lesion.NEVUS): 9}
GATES = GateParams(lesion_min_probability=0.0, tone_tolerance_deg=8)


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A production watched block by block."""
    workspace, params = write_workspace(tmp_path_factory.mktemp("made"), QUOTAS, gates=GATES)
    precalibrate(workspace, params)
    plan, clock = plan_production(workspace, params, PlantingGenerator()), Clock()
    progress, sheets, written = Progress(plan, clock), FillingSheets(workspace, plan, clock), []
    schedule = Schedule(workspace, plan)
    while blocks := schedule.missing():
        progress.settle_round(plan, schedule)
        for one in blocks:
            count = produce_block(
                workspace, params, plan, one, generator=PlantingGenerator(), extractor=ThumbnailExtractor()
            )
            clock.now += 10
            progress.take(count)
            sheets.take(count)
            written.append({p.name for p in workspace.sheets.glob("*.png")})
    progress.settle_round(plan, schedule)
    settle_production(workspace, params, plan, schedule)
    return {"workspace": workspace, "plan": plan, "progress": progress, "written": written, "clock": clock}


def test_in_the_end_it_says_what_the_result_says(made: dict[str, Any]) -> None:
    result, whole = load_result(made["workspace"].production), made["progress"].total()
    assert (whole.quota, whole.accepted, whole.attempts) == (result.quota, result.accepted, result.attempts)
    surplus = sum(one.surplus for one in result.strata)
    assert dict(+whole.rejected) == {**result.rejected, **({"surplus": surplus} if surplus else {})}
    assert made["progress"].seconds_left == 0


def test_the_ledger_is_counted_as_it_was_settled(made: dict[str, Any]) -> None:
    result, found = load_result(made["workspace"].production), count_ledger(made["workspace"])
    assert found is not None
    assert (found.attempts, found.accepted) == (result.attempts, result.accepted)
    for mine, theirs in zip(found.strata, result.strata, strict=True):
        assert (mine.stratum, mine.attempts, mine.accepted) == (theirs.stratum, theirs.attempts, theirs.accepted)
        assert mine.rejected == {**theirs.rejected, **({"surplus": theirs.surplus} if theirs.surplus else {})}


def test_before_the_first_production_there_is_nothing_to_count(tmp_path: Path) -> None:
    assert count_ledger(Workspace(tmp_path)) is None


def block(passed: int, attempts: int = 8, *, reused: bool = False, **rejected: int) -> BlockCount:
    return BlockCount(
        key="k", stratum="phantom/V/melanoma", attempts=attempts, passed=passed, reused=reused, rejected=rejected
    )


def test_pace_and_time_left_count_what_was_made_in_this_run(made: dict[str, Any]) -> None:
    clock = Clock()
    progress = Progress(made["plan"], clock)
    assert progress.seconds_left is None
    progress.take(block(2, reused=True, tone=6))
    clock.now = 16.0
    progress.take(block(2, tone=6))
    one = progress.strata["phantom/V/melanoma"]
    assert (one.accepted, one.attempts, one.rejected["tone"]) == (4, 16, 12)
    assert progress.images_per_s == 2 / 16
    # 2 images are missing at 1 in 4, and 9 nevi at 3 in 4: 8 + 12 attempts at 2 s each.
    assert progress.seconds_left == pytest.approx(40)
    progress.take(block(5))
    assert (one.accepted, one.rejected["surplus"]) == (6, 3)


def test_a_stratum_that_accepts_nothing_is_expected_to_use_its_limit() -> None:
    assert StratumProgress("s", 10, 50, attempts=20).attempts_left == 30
    assert StratumProgress("s", 10, 50, attempts=20, accepted=10).attempts_left == 0
    assert StratumProgress("s", 10, 50, attempts=20, accepted=5).attempts_left == 20


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (18720, "5 h 12 min"), (273600, "3 d 4 h")],
)
def test_durations_are_said_in_two_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_reasons_stand_in_the_gates_order() -> None:
    assert reasons_line(Counter(lesion=1400, blank=1, surplus=2)) == "blank 1, lesion 1,400, surplus 2"
    assert reasons_line(Counter()) == "-"


def test_table_line_and_artifact_say_the_same(made: dict[str, Any]) -> None:
    from tasks.live import progress_line, progress_markdown, progress_table

    shown, progress = io.StringIO(), made["progress"]
    Console(file=shown, width=140).print(progress_table(progress))
    whole = progress.total()
    for text in (shown.getvalue(), progress_markdown(progress)):
        for name, one in progress.strata.items():
            (line,) = [row for row in text.splitlines() if name in row]
            assert str(one.accepted) in line
            assert f"{one.attempts} of {one.limit}" in line
            assert reasons_line(one.rejected) in line
        assert f"{whole.attempts} of {whole.limit}" in text
    assert progress_line(progress).startswith(f"produce 15/15 images in {whole.attempts} attempts  ")


def test_a_log_gets_a_line_now_and_then_and_no_server_is_no_reason_to_stop(
    made: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.live

    def refuse(**_: object) -> None:
        raise ConnectionError("server gone")

    monkeypatch.setattr(tasks.live, "create_markdown_artifact", refuse)
    clock = Clock()
    view = tasks.live.ProductionView(
        made["workspace"], made["plan"], console=Console(force_terminal=False, stderr=True), clock=clock
    )
    for _ in range(4):
        clock.now += 5
        view(block(0, blank=8))
    view.close()
    said = capsys.readouterr().err
    assert said.count("produce 0/15 images in 24 attempts  blank 24  0 images/s") == 1
    assert "progress not published (ConnectionError)" in said


def test_sheets_appear_while_it_fills_and_end_as_the_shards_say(made: dict[str, Any]) -> None:
    workspace, plan = made["workspace"], made["plan"]
    names = {sheet_path(workspace, stratum).name for stratum in plan.strata}
    assert made["written"][0] <= names
    assert made["written"][0]
    assert made["written"][-1] == names == {p.name for p in workspace.sheets.iterdir()}
    before = {p.name: p.read_bytes() for p in workspace.sheets.iterdir()}
    write_sheets(workspace, plan)
    assert {p.name: p.read_bytes() for p in workspace.sheets.iterdir()} == before
    for data in before.values():
        sheet = Image.open(io.BytesIO(data))
        assert sheet.width > 8 * 96


def test_a_sheet_is_not_rewritten_sooner_than_it_may(made: dict[str, Any]) -> None:
    workspace, plan, clock = made["workspace"], made["plan"], Clock()
    sheets, path = FillingSheets(workspace, plan, clock), sheet_path(workspace, plan.strata[0])
    keys = [path.stem for path in sorted(workspace.blocks.iterdir())]
    stamps = []
    for key in keys[:1] * 4:
        sheets.take(BlockCount(key=key, stratum=plan.strata[0].name, attempts=8, passed=1, reused=False))
        stamps.append(path.stat().st_mtime_ns)
        clock.now += SECONDS / 2
    assert stamps[0] == stamps[1] != stamps[2] == stamps[3]
