"""`equiderm plan`: what produce would make and cost, as a table or as JSON; and the same with other numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from flows.checks import check_params
from flows.engine import ENGINES
from flows.records import plain
from pipelines.produce.estimate import Interval, ProductionEstimate, WhatIf, estimate_production
from pipelines.produce.progress import duration
from schemas.errors import UserError
from schemas.paths import Workspace

WIDTH = 170
"""Columns of the table where there is no terminal."""


def show_plan(*, what_if: bool, images: int, workers: int, cores: int, engine: str, as_json: bool) -> None:
    """Show what produce would make and what it would take; needs the strata. 0 stands for the number in params.yaml.

    Raises:
        UserError: another number is given without `what_if`, or the engine is not known.
    """
    given = [name for name, value in (("images", images), ("workers", workers), ("cores", cores)) if value]
    if not what_if and (given or engine != ENGINES[0]):
        raise UserError(f"plan: --{given[0] if given else 'engine'} asks what would be; add --what-if")
    if engine not in ENGINES:
        raise UserError(f"plan: --engine: got {engine!r}; use one of {', '.join(ENGINES)}")
    workspace = Workspace.here()
    params = check_params(workspace)
    count = workers or params.produce.workers
    asked = WhatIf(
        images=images or None,
        workers=workers or None,
        cores=cores or None,
        processes=1 if engine == "threads" else count,
    )
    found = estimate_production(workspace, params, asked)
    if as_json:
        print(json.dumps(plain(found), indent=1))
    else:
        # A pipe or a log has no width of its own; rich would squeeze the table into 80 columns.
        print_plan(found, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH))


def print_plan(found: ProductionEstimate, console: Console) -> None:
    """Print the strata, the total and what cannot be made."""
    table = Table(box=box.SIMPLE, show_footer=True)
    table.add_column("stratum", "total", no_wrap=True)
    for head, total in (
        ("quota", number(found.quota)),
        ("images", _range(found.images, number)),
        ("attempts", _range(found.attempts, number)),
        ("at most", number(found.attempt_limit)),
        ("kept", ""),
        ("worker hours", ""),
        ("storage", _range(found.bytes, size)),
    ):
        table.add_column(head, total, justify="right")
    for one in found.strata:
        table.add_row(
            one.stratum,
            number(one.quota),
            _range(one.images, number),
            _range(one.attempts, number),
            number(one.attempt_limit),
            _range(one.acceptance, lambda share: f"{share:.0%}"),
            _range(one.hours, lambda hours: duration(3600 * hours)),
            _range(one.bytes, size),
        )
    console.print(table)
    where = f"{found.workers} worker{'s' if found.workers > 1 else ''} on {found.cores} cores"
    console.print(f"by {found.generator}, {where}: {_range(found.hours, lambda hours: duration(3600 * hours))}", end="")
    gpu = _range(found.gpu_hours, lambda hours: f"{hours:.3g} GPU-hours") if found.gpu_hours else "no GPU-hours"
    console.print(f", {gpu} ({found.device or 'no device measured'})")
    console.print(f"90% intervals from: {found.basis}")
    for one_short in found.infeasible:
        console.print(f"not to be had: {one_short.missing:,} images: {one_short.reason}")


def size(count: float) -> str:
    """Return bytes as e.g. `3.1 MB`."""
    for unit, per in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= per:
            return f"{count / per:.3g} {unit}"
    return f"{count:.0f} B"


def number(count: float) -> str:
    """Return a count in full up to 9,999, then e.g. `204k` and `2.82M`."""
    for unit, per in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= max(per, 9999.5):
            return f"{count / per:.3g}{unit}" if count / per < 999.5 else f"{count / per:.0f}{unit}"
    return f"{count:,.0f}"


def _range(interval: Interval | None, written: Callable[[Any], str]) -> str:
    """Return e.g. `310 (280 - 350)`; a question mark for what is not known."""
    if interval is None:
        return "?"
    low, expected, high = (written(value) for value in (interval.low, interval.expected, interval.high))
    return expected if low == high else f"{expected} ({low} - {high})"
