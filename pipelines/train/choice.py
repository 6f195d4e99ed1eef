"""Which average of a finished run is sampled from: the length is chosen afterwards, by the worst group (after EDM2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.train.averages import LARGEST_ERROR
from pipelines.train.loop import Run, averaged
from pipelines.train.observer import Observer
from pipelines.train.snapshots import reach


def choose_length(run: Run, candidates: Sequence[float], observer: Observer) -> None:
    """Leave the best of the candidate lengths in `run.average` and every one's worst KID in `run.records["lengths"]`.

    Karras et al. (2024) choose by FID over everybody; here it is the worst group's KID against validation images, so that
    an average that suits most skin types and fails one does not win. What the snapshots do not make up is not tried; of
    equals the first wins.

    Raises:
        CheckFailed: a snapshot was damaged while it was needed.
    """
    steps = run.snapshots.steps(run.best_step)
    rows: list[dict[str, Any]] = []
    tried: dict[float, float] = {}
    for length in candidates:
        if reach(length, steps, run.best_step) > LARGEST_ERROR:
            rows.append({"length": length, "worst_kid": None, "worst_group": None})
            continue
        averaged(run, length)
        kid = observer.kid_of(run)
        worst = max(kid, key=lambda group: kid[group])
        rows.append({"length": length, "worst_kid": kid[worst], "worst_group": worst})
        tried[length] = kid[worst]
    run.records["lengths"] = rows
    if tried:
        averaged(run, min(tried, key=lambda length: tried[length]))
