"""How far a production is, while it runs: a table on the terminal, a line now and then in a log, an artifact in Prefect."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.produce.blocks import BlockCount
from pipelines.produce.plan import ProductionPlan
from pipelines.produce.progress import Progress, StratumProgress, duration, reasons_line
from pipelines.produce.schedule import Schedule
from pipelines.produce.sheets import FillingSheets
from schemas.paths import Workspace

LOG_SECONDS: Final = 15.0
ARTIFACT_SECONDS: Final = 10.0
ARTIFACT_KEY: Final = "produce-live"
HEADS: Final = ("stratum", "quota", "accepted", "attempts", "rejected")


class ProductionView:
    """Shows a production's blocks as they come. With a closed server or a full disk it says less and stops nothing."""

    def __init__(
        self,
        workspace: Workspace,
        plan: ProductionPlan,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show on `console` (stderr if None); inside a flow run also as its artifact `produce-live`."""
        self._plan, self._clock = plan, clock
        self.progress, self._sheets = Progress(plan, clock), FillingSheets(workspace, plan, clock)
        self._printed = self._published = clock()
        self._artifact: Any = None
        console = console or Console(stderr=True)
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        if self._live:
            self._live.start()
        self._publish()

    def begin_round(self, schedule: Schedule) -> None:
        """Show what the finished rounds came to, exactly."""
        self.progress.settle_round(self._plan, schedule)
        self._show()

    def __call__(self, count: BlockCount) -> None:
        """Show one block more."""
        self.progress.take(count)
        try:
            self._sheets.take(count)
        except OSError as error:
            print(f"production/sheets: not written ({error})", file=sys.stderr, flush=True)
        self._show()

    def close(self) -> None:
        """Take the table away; what it said last stays in Prefect."""
        if self._live:
            self._live.stop()
        self._publish()

    def _show(self) -> None:
        now = self._clock()
        if self._live:
            self._live.update(progress_table(self.progress), refresh=True)
        elif now - self._printed >= LOG_SECONDS:
            self._printed = now
            print(progress_line(self.progress), file=sys.stderr, flush=True)
        if now - self._published >= ARTIFACT_SECONDS:
            self._publish()

    def _publish(self) -> None:
        """Write the table into the flow run's artifact: the same one each time, or a long run would leave thousands."""
        self._published = self._clock()
        text = progress_markdown(self.progress)
        try:
            if self._artifact is None:
                self._artifact = create_markdown_artifact(key=ARTIFACT_KEY, markdown=text, description="how far it is")
            else:
                with get_client(sync_client=True) as client:
                    client.update_artifact(self._artifact, ArtifactUpdate(data=text))
        except Exception as error:  # whatever the server says, images go on being made
            print(f"produce: progress not published ({type(error).__name__})", file=sys.stderr, flush=True)


def progress_line(progress: Progress) -> str:
    """Return e.g. `produce 120/205 images in 310 attempts  tone 30, lesion 160  1.9 images/s  45 s left`."""
    whole = progress.total()
    done = f"produce {whole.accepted:,}/{whole.quota:,} images in {whole.attempts:,} attempts"
    return f"{done}  {reasons_line(whole.rejected)}  {_pace(progress)}"


def progress_table(progress: Progress) -> Table:
    """Return the strata, those still filling first, and the total, for a terminal."""
    table = Table(box=box.SIMPLE, caption=_pace(progress), caption_justify="left", show_footer=True)
    whole = _cells(progress.total())
    for i, head in enumerate(HEADS):
        number = 0 < i < 4
        table.add_column(head, whole[i], justify="right" if number else "left", no_wrap=number)
    for one in sorted(progress.strata.values(), key=lambda s: s.accepted >= s.quota):
        table.add_row(*_cells(one), style="dim" if one.accepted >= one.quota else None)
    return table


def progress_markdown(progress: Progress) -> str:
    """Return the same as Markdown."""
    rows = [_cells(one) for one in [*progress.strata.values(), progress.total()]]
    lines = [" | ".join(HEADS), " | ".join(["---", "--:", "--:", "--:", "---"]), *(" | ".join(row) for row in rows)]
    return "\n".join([f"**produce**: {_pace(progress)}", "", *(f"| {line} |" for line in lines)])


def _cells(one: StratumProgress) -> tuple[str, str, str, str, str]:
    numbers = (f"{one.quota:,}", f"{one.accepted:,}", f"{one.attempts:,} of {one.limit:,}")
    return (one.name, *numbers, reasons_line(one.rejected))


def _pace(progress: Progress) -> str:
    return f"{progress.images_per_s:.3g} images/s  {duration(progress.seconds_left)} left"
