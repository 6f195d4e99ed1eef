"""What can be known to be wrong before any work starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

import yaml

from flows.graph import Graph
from schemas.errors import ParamsError
from schemas.location_params import Location
from schemas.params import Params, load_params
from schemas.paths import Workspace
from schemas.section import Section
from schemas.train_params import GeneratorName


def check_params(workspace: Workspace) -> Params:
    """Return the parameters, checked before any work: keys, types, ranges, the generator's name, the quota table.

    Raises:
        ParamsError: naming what is wrong.
    """
    params = load_params(workspace.params)
    data = yaml.safe_load(workspace.params.read_text(encoding="utf-8"))
    read = re.findall(r"\$\{([a-z_]+\.[a-z_.]+)\}", (workspace.root / "dvc.yaml").read_text(encoding="utf-8"))
    if missing := sorted({key for key in read if not _holds(data, key.split("."))}):
        raise ParamsError(f"params.yaml: no {', '.join(missing)}; dvc.yaml names stages and files by it; add it")
    generators = [name for name, field in type(params.train).model_fields.items() if isinstance(field.default, Section)]
    named = params.produce.generator
    for name in [named] if isinstance(named, str) else named:
        if name not in generators and named != "auto":
            raise ParamsError(
                f"params.yaml: produce.generator: got {name!r}; use one of {', '.join(generators)}, a list, or auto"
            )
        if name not in params.train.use and named != "auto":
            raise ParamsError(
                f"params.yaml: produce.generator: got {name!r}, train.use is {', '.join(params.train.use)}; "
                "nothing would train it; add it to train.use"
            )
    from pipelines.stratify.quota_table import read_quota_table

    read_quota_table(workspace, params.stratify.quotas)
    _check_pinned(workspace, params)
    return params


def check_used(only: Sequence[str], params: Params) -> None:
    """Raise ParamsError if a stage asked for would train a generator that `train.use` leaves out."""
    for stage in only:
        name = stage.removeprefix("train@")
        if name != stage and name in get_args(GeneratorName) and name not in params.train.use:
            raise ParamsError(
                f"train {name}: not in train.use ({', '.join(params.train.use)}), so no stage trains it; add it there, "
                f"and `{name}: {{}}` under train, in params.yaml"
            )


def _check_pinned(workspace: Workspace, params: Params) -> None:
    """Raise ParamsError if somebody's weights are needed and not named, or named and not there."""
    base, autoencoder = params.train.stable_diffusion.base, params.train.diffusion.autoencoder
    if base is None and "stable_diffusion" in (*params.train.use, params.produce.generator):
        raise ParamsError(
            "params.yaml: train.stable_diffusion.base: none; stable_diffusion is to be trained, which fine-tunes a model; "
            "give its path (or hub and revision), sha256 and licence, see docs/stable-diffusion.md"
        )
    for key, wanted in (("stable_diffusion.base", base), ("diffusion.autoencoder", autoencoder)):
        if wanted is not None and wanted.path is not None and not workspace.path(wanted.path).is_dir():
            raise ParamsError(
                f"params.yaml: train.{key}: no folder {wanted.path}; needs one as diffusers saves it; "
                "put it there or correct the path"
            )


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
    from pipelines.ingest.withdrawn import withdrawn_for_ingest
    from pipelines.sources.permission import permitted_sources
    from pipelines.sources.registry import open_source

    for name, source in permitted_sources(params).items():
        # What has to be fetched first is opened by the stage `sources`.
        if not (isinstance(source, Location) and source.remote):
            open_source(name, source, workspace)
    withdrawn_for_ingest(workspace, params.ingest)


def _holds(data: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True
