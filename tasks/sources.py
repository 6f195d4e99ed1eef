"""Fetching the sources that are not here, and fingerprinting all."""

from __future__ import annotations

from typing import Any

from pipelines.fetch.source import FetchResult, fetch_source
from pipelines.sources.fingerprint import survey_sources
from schemas.location_params import Location
from schemas.params import Params
from schemas.paths import Workspace
from tasks.progress import FetchProgress
from tasks.unit import unit


@unit(name="fetch")
def fetch(workspace: Workspace, name: str, location: Location) -> FetchResult:
    """Return the counts of one source's mirror, brought up to date."""
    return fetch_source(workspace, name, location, FetchProgress(name))


@unit(name="fingerprint")
def fingerprint(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Return every source's fingerprint, as in data/sources.json, and how it stands against what was accepted."""
    return survey_sources(workspace, params)
