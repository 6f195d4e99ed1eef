"""Shards in processes of their own: reading pictures is as much Python as it is C, and threads of one process take turns.

A process is also all that a hostile file can take down: a decoder that crashes costs one shard another try.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from pipelines.ingest.plan import ShardPlan
from pipelines.ingest.shard import ShardCount, ingest_shard
from schemas.errors import error_named
from schemas.params import Params
from schemas.paths import Workspace

READY, COUNT, ERROR, FAULT = "ready", "count", "error", "fault"
"""What a worker says, one JSON object a line: that it can work; a shard's counts, an error of ours, of the system."""


class _Worker:
    """One process. It ends when its stdin closes, so none is left behind when this process is killed."""

    def __init__(self, workspace: Workspace, params: Params) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.ingest.worker"],
            cwd=workspace.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        self._tell(params.model_dump_json(by_alias=True))
        self._ready = False

    def wait(self) -> None:
        """Return when it has imported what it needs."""
        if not self._ready:
            self._hear()
        self._ready = True

    def ingest(self, plan: ShardPlan) -> ShardCount:
        self.wait()
        self._tell(json.dumps(asdict(plan)))
        ((kind, content),) = self._hear().items()
        if kind == ERROR:
            raise error_named(content["type"])(content["message"])
        if kind == FAULT:
            raise OSError(content["errno"], content["message"])
        return ShardCount.model_validate(content)

    def end(self) -> int:
        """Close its stdin and return its exit status."""
        self._process.communicate()
        return self._process.returncode

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ConnectionError(f"a process of the crew ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Crew:
    """Up to `ingest.workers` processes, each started when there is a shard for it. Safe to use from several threads."""

    def __init__(self, workspace: Workspace, params: Params) -> None:
        self._workspace, self._params = workspace, params
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(params.ingest.workers):
            self._idle.put(None)

    def ingest(self, plan: ShardPlan) -> ShardCount:
        """Return what `ingest_shard` does, from another process.

        Raises:
            EquidermError, OSError: as `ingest_shard`.
            ConnectionError: the process was lost; the next call gets a fresh one, and the shard can be asked for again.
        """
        worker = self._idle.get()
        try:
            worker = worker or _Worker(self._workspace, self._params)
            return worker.ingest(plan)
        except (ConnectionError, BrokenPipeError) as lost:
            worker = None
            raise ConnectionError(
                f"ingest of {plan.source} rows {plan.start} to {plan.stop}: {lost}; its answer is needed; "
                "look for a file that crashes the decoder, or too little memory"
            ) from None
        finally:
            self._idle.put(worker)

    def start(self) -> None:
        """Start every process and return when all can work: for those who time what comes after."""
        workers = [self._idle.get() or _Worker(self._workspace, self._params) for _ in range(self._idle.qsize())]
        for worker in workers:
            worker.wait()
            self._idle.put(worker)

    def close(self) -> None:
        """End the processes; none may be at work."""
        while not self._idle.empty():
            if (worker := self._idle.get()) is not None:
                worker.end()


@contextmanager
def crew(workspace: Workspace, params: Params, shards: int) -> Iterator[Crew | None]:
    """Yield the processes for that many shards; None where one process, this one, is enough."""
    if min(params.ingest.workers, shards) < 2:
        yield None
        return
    hired = Crew(workspace, params)
    try:
        yield hired
    finally:
        hired.close()


def ingest_with(hired: Crew | None, workspace: Workspace, params: Params, plan: ShardPlan) -> ShardCount:
    """Return the counts of a shard, made by the crew or, without one, here; raises what `Crew.ingest` does."""
    return hired.ingest(plan) if hired else ingest_shard(workspace, params, plan)
