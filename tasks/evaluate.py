"""Measuring the finished production."""

from __future__ import annotations

from pipelines.evaluate.measure import evaluate_production
from schemas.metrics import Metrics
from schemas.params import Params
from schemas.paths import Workspace
from tasks.unit import unit


@unit(name="measure")
def measure(workspace: Workspace, params: Params) -> Metrics:
    """Return the metrics; evaluation/ holds the same as tables."""
    return evaluate_production(workspace, params)
