"""Pictures that are there more than once."""

from __future__ import annotations

from pipelines.dedupe.find import DedupeResult, find_duplicates
from schemas.params import Params
from schemas.paths import Workspace
from tasks.unit import unit


@unit(name="find-duplicates")
def find(workspace: Workspace, params: Params) -> DedupeResult:
    """Return how many there are and what became of them."""
    return find_duplicates(workspace, params)
