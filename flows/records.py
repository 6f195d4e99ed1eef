"""What each stage's last run said, kept under `.equiderm/results` for the build, `status` and `--json`.

Never a result itself: the stage's outs are. Losing this folder loses nothing but the summaries.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas.errors import EquidermError
from schemas.paths import Workspace
from schemas.table import write_text

RAN, RESTORED, UNCHANGED, FAILED = "Ran", "Restored", "Unchanged", "Failed"
"""What can become of a stage, as Prefect shows it. Restored: DVC took its outs from the cache of earlier runs."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells report it."""
STOPPED_LINE = "stopped; run it again to go on"


class Record(BaseModel):
    """The last run of one stage."""

    stage: str
    finished: datetime
    seconds: float
    headline: str
    summary: dict[str, Any]


class Failure(BaseModel):
    """Why a stage ended early: the one line and the exit code the command line repeats."""

    stage: str
    exit_code: int
    message: str


class Outcome(BaseModel):
    """What became of one stage in a build; `exit_code` is not 0 if it failed, and `headline` is then its line."""

    stage: str
    state: str
    seconds: float
    headline: str
    exit_code: int = 0


class StageFailed(EquidermError):
    """A stage said no; carries its line, its exit code, and what became of the stages up to it."""

    def __init__(self, failed: Outcome, outcomes: list[Outcome]) -> None:
        super().__init__(f"{failed.stage}: {failed.headline}")
        self.exit_code = failed.exit_code
        self.outcomes = outcomes


def plain(value: Any) -> Any:
    """Return `value` as JSON-able data: models, dataclasses, paths, enums and NumPy numbers become plain ones."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | Path | datetime):
        return str(value)
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_record(workspace: Workspace, stage: str, headline: str, summary: Any, started: float) -> Record:
    """Keep and return what a stage's run said. `started` is its `time.time()`."""
    data = plain(summary)
    record = Record(
        stage=stage,
        finished=datetime.now(UTC),
        seconds=round(time.time() - started, 3),
        headline=headline,
        summary=data if isinstance(data, dict) else {"result": data},
    )
    write_text(record.model_dump_json(indent=1), _record_path(workspace, stage))
    return record


def read_record(workspace: Workspace, stage: str) -> Record | None:
    """Return what the stage's last run here said, or None (never run here, or its outs came from a cache)."""
    path = _record_path(workspace, stage)
    return Record.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def forget_record(workspace: Workspace, stage: str) -> None:
    """Drop the record: the outs about to be in place are not that run's."""
    _record_path(workspace, stage).unlink(missing_ok=True)


def _record_path(workspace: Workspace, stage: str) -> Path:
    return workspace.state / "results" / f"{stage}.json"


def _failure_path(workspace: Workspace) -> Path:
    return workspace.state / "last_error.json"


def write_failure(workspace: Workspace, failure: Failure) -> None:
    """Leave the stage's line for the build that started it."""
    write_text(failure.model_dump_json(), _failure_path(workspace))


def take_failure(workspace: Workspace, stage: str) -> Failure | None:
    """Return and remove the line the stage left, if it left one."""
    path = _failure_path(workspace)
    if not path.is_file():
        return None
    failure = Failure.model_validate(json.loads(path.read_text(encoding="utf-8")))
    path.unlink()
    return failure if failure.stage == stage else None


def markdown(record: Record) -> str:
    """Return the record as Markdown: a table of its plain values, then one table for each list of rows in it."""
    parts = [f"**{record.stage}**: {record.headline}", _rows([("seconds", f"{record.seconds:.1f}")], ["", ""])]
    single = [(k, _cell(v)) for k, v in record.summary.items() if not isinstance(v, dict | list)]
    if single:
        parts.append(_rows(single, ["", ""]))
    for name, value in record.summary.items():
        if isinstance(value, dict) and value:
            parts.append(f"### {name}\n\n" + _rows([(k, _cell(v)) for k, v in value.items()], ["", ""]))
        elif isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            heads = list(value[0])
            parts.append(f"### {name}\n\n" + _rows([[_cell(row.get(h)) for h in heads] for row in value], heads))
        elif isinstance(value, list) and value:
            parts.append(f"### {name}\n\n{_cell(value)}")
    return "\n\n".join(parts)


def _rows(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        text = f"{value:.4g}"
    elif isinstance(value, dict | list):
        text = json.dumps(value)
    else:
        text = "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
