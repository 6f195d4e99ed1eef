"""Writing one release."""

from __future__ import annotations

from pipelines.release.build import ReleaseResult, write_release
from schemas.params import Params
from schemas.paths import Workspace
from tasks.unit import unit


@unit(name="write")
def write(workspace: Workspace, params: Params) -> ReleaseResult:
    """Return what was written and where."""
    return write_release(workspace, params)
