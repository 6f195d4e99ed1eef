"""Splits, strata and quotas."""

from __future__ import annotations

from pipelines.stratify.strata import StratifyResult, stratify
from schemas.params import Params
from schemas.paths import Workspace
from tasks.unit import unit


@unit(name="split-and-count")
def split_and_count(workspace: Workspace, params: Params) -> StratifyResult:
    """Return the strata and quotas."""
    return stratify(workspace, params)
