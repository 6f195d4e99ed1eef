"""The expectations on the catalog."""

from __future__ import annotations

from pipelines.validate.check import ValidationResult, validate_catalog
from schemas.params import Params
from schemas.paths import Workspace
from tasks.unit import unit


@unit(name="check-catalog")
def check(workspace: Workspace, params: Params) -> ValidationResult:
    """Return what each expectation said."""
    return validate_catalog(workspace, params)
