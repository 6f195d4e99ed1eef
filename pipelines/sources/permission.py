"""Which sources may be used: those whose licence is known and allows what params require."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import NotFoundError, SourceError
from schemas.licences import DATASETS, Licence, licence_of
from schemas.params import Params
from schemas.source_params import Source


@dataclass(frozen=True)
class LeftOut:
    """A source of params.yaml that `sources.require` keeps out. It is not opened, and nothing of it is read."""

    source: str
    licence: str
    lacks: tuple[str, ...]


def licence_of_source(name: str, source: Source) -> Licence:
    """Return the licence of a source: the one its params state, else its dataset's.

    Raises:
        SourceError: none is stated, or it is not in schemas/licences.py.
    """
    stated = getattr(source, "licence", None)
    dataset = DATASETS.get(source.adapter)
    licence_id = stated or (dataset.licence if dataset else "")
    if not licence_id:
        raise SourceError(
            f"sources.use.{name}: no licence is known for it; a source needs one to enter; find out its publisher's "
            "terms, add them to schemas/licences.py and name them"
        )
    try:
        return licence_of(licence_id)
    except NotFoundError as error:
        raise SourceError(f"sources.use.{name}: {error}") from None


def permitted_sources(params: Params) -> Mapping[str, Source]:
    """Return the sources to be used, by name, in the order of params.yaml. Nothing is opened.

    Raises:
        SourceError: a source has no known licence, or `sources.require` leaves none.
    """
    out = {found.source: found for found in left_out_sources(params)}
    used = {name: source for name, source in params.sources.use.items() if name not in out}
    if not used:
        why = ", ".join(f"{o.source} ({o.licence}) does not allow {' and '.join(o.lacks)}" for o in out.values())
        raise SourceError(
            f"sources.require: {', '.join(params.sources.require)} leaves no source: {why}; a build needs one; "
            "add a source or require less"
        )
    return used


def left_out_sources(params: Params) -> list[LeftOut]:
    """Return the sources whose licence lacks something of `sources.require`, in the order of params.yaml.

    Raises:
        SourceError: a source has no known licence.
    """
    found = []
    for name, source in params.sources.use.items():
        if source.adapter not in DATASETS and not getattr(source, "licence", None):
            continue  # no such adapter: opening it says so better
        licence = licence_of_source(name, source)
        lacks = tuple(p for p in params.sources.require if p not in licence.allows)
        if lacks:
            found.append(LeftOut(name, licence.id, lacks))
    return found
