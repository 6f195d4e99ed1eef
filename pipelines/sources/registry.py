"""Adapters by name. A new one is a file here with `open_reader`; its parameters, labels and licence are in schemas."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, cast

from pipelines.sources.fetched import FetchedReader, mirrored
from pipelines.sources.interface import SourceReader
from pipelines.sources.permission import permitted_sources
from schemas.errors import SourceError
from schemas.location_params import Location
from schemas.params import Params
from schemas.paths import Workspace
from schemas.source_params import Source

NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
"""What a source may be called."""


def require_name(name: str) -> None:
    """Raise SourceError if a source cannot be called that: its name becomes part of file names."""
    if not NAME.fullmatch(name):
        raise SourceError(
            f"sources.use: {name!r} as a name; needs a-z, 0-9, _ and -, a letter first; rename the source"
        )


def open_source(name: str, source: Source, workspace: Workspace) -> SourceReader:
    """Return the source, opened and checked.

    Args:
        name: its name under `sources.use` in params.yaml.
        source: its parameters.
        workspace: relative paths are taken from here.

    Raises:
        SourceError: its name is no file name, or its folder, table, columns or images are missing.
    """
    require_name(name)
    # The adapter's name is its module's name, so that adding a file is all it takes.
    module = importlib.import_module(f"pipelines.sources.{source.adapter}")
    reader = cast(SourceReader, module.open_reader(name, mirrored(name, source, workspace), workspace))
    return FetchedReader(reader, source, workspace) if isinstance(source, Location) and source.remote else reader


def open_sources(workspace: Workspace, params: Params) -> Mapping[str, SourceReader]:
    """Return every source that may be used, opened, in the order of params.yaml.

    Raises:
        SourceError: as `open_source` and `permitted_sources` do.
    """
    return MappingProxyType({name: open_source(name, s, workspace) for name, s in permitted_sources(params).items()})
