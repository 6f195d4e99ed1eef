"""What can be known to be wrong before any work starts."""

from __future__ import annotations

from typing import Any

import yaml

from flows.graph import Graph
from schemas.errors import ParamsError
from schemas.location_params import Location
from schemas.params import Params, load_params
from schemas.paths import Workspace
from schemas.section import Section


def check_params(workspace: Workspace) -> Params:
    """Return the parameters, checked before any work: keys, types, ranges, the generator's name, the quota table.

    Raises:
        ParamsError: naming what is wrong.
    """
    params = load_params(workspace.params)
    generators = [name for name, field in type(params.train).model_fields.items() if isinstance(field.default, Section)]
    if params.produce.generator not in generators:
        raise ParamsError(
            f"params.yaml: produce.generator: got {params.produce.generator!r}; use one of {', '.join(generators)}"
        )
    from pipelines.stratify.quota_table import read_quota_table

    read_quota_table(workspace, params.stratify.quotas)
    return params


def check_watched(graph: Graph) -> None:
    """Raise ParamsError if params.yaml leaves out a key that a stage depends on: DVC could not tell when it changes."""
    data = yaml.safe_load(graph.workspace.params.read_text(encoding="utf-8"))
    missing = [key for key in graph.watched_params() if not _holds(data, key.split("."))]
    if missing:
        raise ParamsError(
            f"params.yaml: no {', '.join(missing)}; dvc.yaml tracks it; add it (`{{}}` stands for the defaults)"
        )


def check_sources(workspace: Workspace, params: Params) -> None:
    """Open every source and the withdrawal list; raises SourceError or ParamsError naming what is missing or wrong."""
    from pipelines.ingest.withdrawn import read_withdrawn
    from pipelines.sources.permission import permitted_sources
    from pipelines.sources.registry import open_source

    for name, source in permitted_sources(params).items():
        # What has to be fetched first is opened by the stage `sources`.
        if not (isinstance(source, Location) and source.remote):
            open_source(name, source, workspace)
    read_withdrawn(workspace, params.ingest.salt)


def _holds(data: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True
