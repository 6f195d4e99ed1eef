"""Fingerprinting the sources."""

from __future__ import annotations

from typing import Any

from pipelines.sources.fingerprint import write_fingerprint
from schemas.params import Params
from schemas.paths import Workspace
from tasks.unit import unit


@unit(name="fingerprint")
def fingerprint(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Return the fingerprint of every source; data/sources.json holds the same."""
    return write_fingerprint(workspace, params)
