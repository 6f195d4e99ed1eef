"""evaluate: counts, distances, tone agreement, and a classifier with and without the synthetic images."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from tasks.evaluate import measure


@flow(name="evaluate", persist_result=False)
def evaluate() -> dict[str, Any]:
    """Return the metrics."""
    workspace, params = opened()
    metrics = measure(workspace, params)
    return publish(workspace, "evaluate", "metrics", metrics)


if __name__ == "__main__":
    main(evaluate)
