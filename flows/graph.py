"""DVC's graph of this workspace: the order of its stages, running one of them, and what has changed.

The only place that speaks to DVC. dvc.yaml alone says what depends on what; nothing here repeats it.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.records import (
    FAILED,
    INTERRUPTED,
    RAN,
    RESTORED,
    STOPPED_LINE,
    UNCHANGED,
    Outcome,
    forget_record,
    read_record,
    take_failure,
)
from schemas.errors import NotFoundError, UserError, WorkspaceError
from schemas.paths import Workspace


class Graph:
    """The stages of one workspace as DVC's index knows them."""

    def __init__(self, workspace: Workspace) -> None:
        """Read dvc.yaml, dvc.lock and the keys of params.yaml.

        Raises:
            WorkspaceError: no DVC or git repository here, or dvc.yaml cannot be read.
        """
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.WARNING)  # it would print on stdout, where results go
        self.workspace = workspace
        try:
            self.repo = Repo(str(workspace.root))
            self._graph = self.repo.index.graph
        except Exception as error:  # DVC raises errors of git, of YAML, of its own templates
            raise WorkspaceError(f"{workspace.root}: DVC cannot read this workspace: {one_line(error)}") from None

    def order(self, only: Sequence[str] = ()) -> list[str]:
        """Return the stages in the order they must run; `only` keeps those (`train` stands for every `train@...`).

        Raises:
            NotFoundError: a name in `only` is no stage.
        """
        import networkx

        written = {stage: position for position, stage in enumerate(self.repo.index.stages)}
        # DVC's edges lead from a stage to what it needs. Among stages that are free to run, dvc.yaml's order decides.
        ready = networkx.lexicographical_topological_sort(self._graph.reverse(), key=written.__getitem__)
        names = [stage.addressing for stage in ready]
        for name in only:
            if not any(_is(name, stage) for stage in names):
                raise NotFoundError(f"{name}: no such stage; stages are {', '.join(names)}")
        return [stage for stage in names if not only or any(_is(name, stage) for name in only)]

    def needs(self, name: str) -> list[str]:
        """Return the stages whose outs this stage reads."""
        return [stage.addressing for stage in self._graph.successors(self._stage(name))]

    def watched_params(self) -> list[str]:
        """Return every key of params.yaml that a stage depends on, dotted."""
        from dvc.dependency.param import ParamsDependency

        deps = (dep for stage in self._graph for dep in stage.deps if isinstance(dep, ParamsDependency))
        return sorted({key for dep in deps for key in dep.params})

    def run(self, name: str) -> Outcome:
        """Bring one stage up to date, as `dvc repro --single-item` does, and return what happened. Never raises."""
        started = time.monotonic()
        missing = [dep.def_path for dep in self._stage(name).deps if not dep.exists]
        if missing:
            line = f"needs {', '.join(missing)}, not there; run `equiderm build`, or the stages before it"
            return Outcome(stage=name, state=FAILED, seconds=0, headline=line, exit_code=UserError.exit_code)
        before = _outs(self._stage(name))
        kept = read_record(self.workspace, name)
        take_failure(self.workspace, name)
        try:
            done = self.repo.reproduce(name, single_item=True)
        except Exception as error:  # the cause is DVC's, git's or the file system's
            code, line = self._failure(name, error)
            return Outcome(stage=name, state=FAILED, seconds=time.monotonic() - started, headline=line, exit_code=code)
        record = read_record(self.workspace, name)
        if not done or (done[0].always_changed and _outs(done[0]) == before):
            state = UNCHANGED
        elif record == kept:
            state, record = RESTORED, None
            forget_record(self.workspace, name)
        else:
            state = RAN
        headline = record.headline if record else ""
        return Outcome(stage=name, state=state, seconds=time.monotonic() - started, headline=headline)

    def changes(self) -> dict[str, list[Any]]:
        """Return, for each stage that is not up to date, why, in DVC's words."""
        return dict(self.repo.status())

    def _stage(self, name: str) -> Any:
        return next(stage for stage in self._graph if stage.addressing == name)

    def _failure(self, name: str, error: BaseException) -> tuple[int, str]:
        left = take_failure(self.workspace, name)
        if left:
            return left.exit_code, left.message
        cause = error.__cause__ or error
        if str(cause).endswith(("exited with -2", "exited with 130")):  # Ctrl-C while the stage was still importing
            return INTERRUPTED, STOPPED_LINE
        return 1, one_line(cause)


def use_this_interpreter() -> None:
    """Make `python` in a stage's command the interpreter that runs now."""
    here = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join((here, os.environ.get("PATH", "")))


def one_line(error: BaseException) -> str:
    """Return an error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _is(name: str, stage: str) -> bool:
    return stage == name or stage.startswith(f"{name}@")


def _outs(stage: Any) -> list[tuple[str, str | None]]:
    return [(out.def_path, out.hash_info.value) for out in stage.outs]
