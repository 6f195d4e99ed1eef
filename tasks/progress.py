"""How far a long unit of work is, on stderr: a line every 15 s; training has a live bar on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.fetch import FetchedRow, FetchStatus

LOG_SECONDS = 15.0


class TrainingProgress:
    """Shows what `train_generator` reports: images seen of the budget, losses, images/s and time left."""

    def __init__(self, name: str, total: int, console: Console | None = None) -> None:
        """Count up to `total` images, on `console` (stderr if None)."""
        self.name, self.total = name, total
        console = console or Console(stderr=True)
        self.printed = time.monotonic()
        self.live: Progress | None = None
        if console.is_terminal:
            said = TextColumn("{task.fields[said]}")
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), said, TimeRemainingColumn())
            self.live = Progress(*columns, console=console, transient=True)
            self.task = self.live.add_task(name, total=total, said="")
            self.live.start()

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Show one report."""
        if self.live is not None:
            seen = min(int(report["images"]), self.total)
            self.live.update(self.task, completed=seen, said=f"{report['images_per_s']:.0f} images/s{losses(report)}")
            return
        now = time.monotonic()
        if now - self.printed >= LOG_SECONDS:
            self.printed = now
            print(progress_line(self.name, report, self.total), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away; what it said is in losses.parquet."""
        if self.live is not None:
            self.live.stop()


class FetchProgress:
    """Says now and then how many files of a source have come. May be called from several threads."""

    def __init__(self, source: str) -> None:
        """Count from none."""
        self.source = source
        self.came, self.lacking, self.bytes = 0, 0, 0
        self.printed = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, row: FetchedRow, asked: int) -> None:
        """Count one file of the `asked` ones."""
        with self._lock:
            here = row.status is FetchStatus.FETCHED
            self.came, self.lacking, self.bytes = self.came + here, self.lacking + (not here), self.bytes + row.bytes
            now = time.monotonic()
            if now - self.printed < LOG_SECONDS:
                return
            self.printed = now
            print(self.line(asked), file=sys.stderr, flush=True)

    def line(self, asked: int) -> str:
        """Return e.g. `pad: 340 of 2,298 files here, 2 could not be had, 12.3 MB`."""
        megabytes = self.bytes / 1e6
        return f"{self.source}: {self.came:,} of {asked:,} files here, {self.lacking:,} could not be had, {megabytes:,.1f} MB"


def progress_line(name: str, report: Mapping[str, Any], total: int) -> str:
    """Return e.g. `diffusion 1440/6000 images  loss 0.213  96 images/s  47 s left`."""
    seen = min(int(report["images"]), total)
    rate, left = report["images_per_s"], report["seconds_left"]
    return f"{name} {seen}/{total} images{losses(report)}  {rate:.0f} images/s  {left:.0f} s left"


def losses(report: Mapping[str, Any]) -> str:
    """Return every loss of a report by name and the stratum learned worst, e.g. `  loss 0.213  worst I/nevus 1.20x`."""
    known = {"step", "images", "images_per_s", "seconds_left", "worst_relative"}
    said = "".join(f"  {key} {value:.3f}" for key, value in report.items() if key not in known and _number(value))
    if "worst_stratum" in report:
        said += f"  worst {report['worst_stratum']} {report['worst_relative']:.2f}x"
    return said


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
