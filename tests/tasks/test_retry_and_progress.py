"""Which faults are tried again, and what a long training says meanwhile."""

from __future__ import annotations

import errno
import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from schemas.errors import CheckFailed, SourceError
from schemas.fetch import FetchedRow
from tasks.progress import FetchProgress, TrainingProgress, progress_line

REPORT = {"step": 15, "images": 1440, "loss": 0.21349, "images_per_s": 96.4, "seconds_left": 47.3}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError(errno.EIO, "disk"), True),
        (OSError(errno.ESTALE, "network disk"), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (OSError(errno.ENOSPC, "full"), False),
        (FileNotFoundError(errno.ENOENT, "no"), False),
        (PermissionError(errno.EACCES, "no"), False),
        (SourceError("no such folder"), False),
        (CheckFailed("no"), False),
        (ValueError("bug"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, again: bool) -> None:
    from prefect.states import Failed

    from tasks.unit import transient

    assert transient(None, None, Failed(data=error)) is again


def test_progress_line() -> None:
    line = progress_line("diffusion", REPORT, 6000)
    assert line == "diffusion 1440/6000 images  loss 0.213  96 images/s  47 s left"


def test_progress_names_the_stratum_that_is_learned_worst() -> None:
    report = {**REPORT, "worst_stratum": "phantom/VI/melanoma", "worst_relative": 1.316}
    line = progress_line("diffusion", report, 6000)
    assert line == "diffusion 1440/6000 images  loss 0.213  worst phantom/VI/melanoma 1.32x  96 images/s  47 s left"


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 16.0, 17.0])
    monkeypatch.setattr("tasks.progress.time.monotonic", lambda: next(clock))
    progress = TrainingProgress("gan", 6000, Console(force_terminal=False, stderr=True))
    for _ in range(3):
        progress(REPORT)
    progress.close()
    assert capsys.readouterr().err.count("gan 1440/6000") == 1


def test_a_terminal_gets_a_live_bar() -> None:
    shown = io.StringIO()
    progress = TrainingProgress("gan", 6000, Console(file=shown, force_terminal=True, width=120))
    progress(REPORT)
    assert progress.live is not None
    progress.live.refresh()
    progress.close()
    assert "1440/6000" in shown.getvalue()
    assert "96 images/s  loss 0.213" in shown.getvalue()


def test_fetching_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 16.0])
    monkeypatch.setattr("tasks.progress.time.monotonic", lambda: next(clock))
    progress = FetchProgress("pad")
    here = {
        "name": "a", "url": "http://a", "etag": None, "modified": None, "bytes": 1_500_000, "sha256": "0" * 64,
        "reason": None, "attempts": 1, "fetched_at": datetime(2026, 1, 1, tzinfo=UTC), "status": "fetched",
    }  # fmt: skip
    progress(FetchedRow.model_validate(here), 1200)
    progress(FetchedRow.model_validate({**here, "status": "failed", "bytes": 0, "reason": "404"}), 1200)
    assert capsys.readouterr().err == "pad: 1 of 1,200 files here, 1 could not be had, 1.5 MB\n"
