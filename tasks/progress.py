"""How far a long unit of work is, on stderr: one line rewritten on a terminal, a new line every 15 s in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

LOG_SECONDS = 15.0
WIDTH = 24


class TrainingProgress:
    """Prints what `train_generator` reports: images seen of the budget, losses, images/s and seconds left."""

    def __init__(self, name: str, total: int) -> None:
        """Count up to `total` images."""
        self.name, self.total = name, total
        self.live = sys.stderr.isatty()
        self.printed = time.monotonic()

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Show one report."""
        now = time.monotonic()
        if not self.live and now - self.printed < LOG_SECONDS:
            return
        self.printed = now
        line = progress_line(self.name, report, self.total)
        print(f"\r\033[K{line}" if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal on a line of its own."""
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def progress_line(name: str, report: Mapping[str, Any], total: int) -> str:
    """Return e.g. `diffusion [######....] 1440/6000 images  loss 0.213  96 images/s  47 s left`."""
    seen = min(int(report["images"]), total)
    full = round(WIDTH * seen / total)
    known = {"step", "images", "images_per_s", "seconds_left"}
    losses = "".join(f"  {key} {value:.3f}" for key, value in report.items() if key not in known and _number(value))
    return (
        f"{name} [{'#' * full}{'.' * (WIDTH - full)}] {seen}/{total} images{losses}"
        f"  {report['images_per_s']:.0f} images/s  {report['seconds_left']:.0f} s left"
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
