"""The trained generators that a production may draw from."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.produce.identity import canonical_json
from schemas.errors import WorkspaceError
from schemas.params import Params, SamplerParams
from schemas.paths import Workspace

if TYPE_CHECKING:
    from pipelines.generators.interface import Generator

    Given = Generator | Sequence[Generator] | None
    """Generators used in place of the trained ones: one, several that compete, or none."""

_LOCK = threading.Lock()


def candidate_names(params: Params) -> list[str]:
    """Return the generators that `produce.generator` names, in its order; for `auto` all that a build trains."""
    named = params.produce.generator
    if named == "auto":
        return list(params.train.use)
    return [named] if isinstance(named, str) else list(named)


def candidates(workspace: Workspace, params: Params, given: Given = None) -> dict[str, Generator]:
    """Return the generators that may make images, by name.

    Raises:
        UserError: a name is unknown, or a checkpoint is missing, damaged or of another resolution.
    """
    if given is None:
        found: Iterable[Generator] = [trained_generator(workspace, params, name) for name in candidate_names(params)]
    else:
        found = given if isinstance(given, Sequence) else [given]
    by_name = {generator.name: generator for generator in found}
    for generator in by_name.values():
        if generator.resolution != params.ingest.resolution:
            raise WorkspaceError(
                f"generator {generator.name} draws {generator.resolution} px, ingest.resolution is "
                f"{params.ingest.resolution}; they need to be equal; train again or change ingest.resolution"
            )
    return by_name


def trained_generator(workspace: Workspace, params: Params, name: str) -> Generator:
    """Return the generator under models/`name`, loaded once a process.

    Raises:
        UserError: its name is unknown, or its checkpoint is missing or damaged.
    """
    from pipelines.generators.registry import entry

    entry(name)
    folder = workspace.model(name)
    stamps: Sequence[int] = [p.stat().st_mtime_ns for p in sorted(folder.glob("*.safetensors"))]
    with _LOCK:  # two workers must not both load it
        return _load(folder, canonical_json(params.produce.sampler.model_dump()), tuple(stamps))


@lru_cache(maxsize=4)
def _load(folder: Path, sampler: str, stamps: tuple[int, ...]) -> Generator:  # noqa: ARG001 (stamps: part of the cache key)
    from pipelines.generators.registry import load_generator

    return load_generator(folder, SamplerParams.model_validate_json(sampler))
