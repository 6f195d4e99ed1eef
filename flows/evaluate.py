"""evaluate: counts, distances, tone agreement, and a classifier with and without the synthetic images."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from schemas.metrics import Metrics, SkinGroup, UtilityMeasure
from tasks.evaluate import measure


@flow(name="evaluate", persist_result=False)
def evaluate() -> dict[str, Any]:
    """Return the metrics."""
    workspace, params = opened()
    metrics = measure(workspace, params)
    return publish(workspace, "evaluate", _headline(metrics), metrics)


def _headline(metrics: Metrics) -> str:
    numbers = [*metrics.fidelity, *metrics.tone, *metrics.utility]
    said = f"{sum(row.value is not None for row in numbers)} of {len(numbers)} numbers measured"
    for row in metrics.utility:
        if row.measure == UtilityMeasure.ACCURACY and row.group == SkinGroup.ALL and row.value is not None:
            said += f"; {row.modality} accuracy {row.training.replace('_', ' + ')} {row.value:.3f}"
    return said


if __name__ == "__main__":
    main(evaluate)
