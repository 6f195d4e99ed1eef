"""The build: every stage of DVC's graph, in its order, as one task run each on a Prefect server.

Nothing here says what depends on what. A stage runs as `dvc repro --single-item <stage>` would run it, so a build and a
`dvc repro` by hand share one cache and one lock file.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.entry import BUILD, artifact_key
from flows.graph import Graph
from flows.records import FAILED, Outcome, StageFailed, markdown, read_record
from schemas.paths import Workspace


@flow(name="build", persist_result=False)
def build(only: list[str]) -> list[Outcome]:
    """Return what became of each stage, in the order of the graph; `only` names the stages to run, empty means all.

    Raises:
        StageFailed: a stage failed; the ones after it did not run. Carries the outcomes so far.
    """
    graph = Graph(Workspace.here())
    os.environ[BUILD] = f"build:{flow_run.name}"
    states: dict[str, State[Any]] = {}
    outcomes: list[Outcome] = []
    for stage in graph.order(only):
        needed = [states[name] for name in graph.needs(stage) if name in states]
        states[stage] = _stage_task(graph, stage, outcomes)(wait_for=needed, return_state=True)
        if states[stage].is_failed():
            raise StageFailed(outcomes[-1], outcomes)
    return outcomes


def _stage_task(graph: Graph, stage: str, outcomes: list[Outcome]) -> Any:
    """Return one stage's task; its state is named Ran, Restored or Unchanged, or is Failed with the stage's line."""

    @task(name=stage, cache_policy=NO_CACHE, persist_result=False)
    def bring_up_to_date() -> State[Any]:
        outcome = graph.run(stage)
        outcomes.append(outcome)
        _show(graph, outcome)
        if outcome.state == FAILED:
            return Failed(message=outcome.headline)
        return Completed(name=outcome.state, message=outcome.headline or outcome.state)

    return bring_up_to_date


def _show(graph: Graph, outcome: Outcome) -> None:
    """Print the stage's line, and publish its last run's tables on its task run also when nothing had to be done."""
    line = f"{outcome.stage:<16} {outcome.state.lower():<10} {outcome.seconds:6.1f} s  {outcome.headline}"
    print(line.rstrip(), file=sys.stderr, flush=True)
    record = read_record(graph.workspace, outcome.stage)
    text = markdown(record) if record else f"**{outcome.stage}**: {outcome.headline or 'outs from the cache'}"
    create_markdown_artifact(key=artifact_key(outcome.stage), markdown=text, description=outcome.state)
