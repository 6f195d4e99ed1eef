"""sources: what is there to read, fetched first where it is not here. Always runs, so that ingest reruns exactly when
a source has changed."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from pipelines.fetch.source import FetchResult
from pipelines.sources.permission import permitted_sources
from schemas.drift import FIRST_USE
from schemas.location_params import Location
from tasks.sources import fetch, fingerprint


@flow(name="sources", persist_result=False)
def sources() -> dict[str, Any]:
    """Return every source's fingerprint and what was fetched; fails where one is not what was accepted of it."""
    workspace, params = opened()
    remote = {n: s for n, s in permitted_sources(params).items() if isinstance(s, Location) and s.remote}
    fetched = {name: fetch(workspace, name, source) for name, source in remote.items()}
    found = fingerprint(workspace, params)
    parts = []
    for name, source in found["sources"].items():
        what = f" ({told(fetched[name])})" if name in fetched else ""
        parts.append(f"{name}: {source['rows']} rows{what}{_stand(found, name)}")
    parts += [
        f"{out['source']}: left out, {out['licence']} lacks {', '.join(out['lacks'])}" for out in found["left_out"]
    ]
    return publish(workspace, "sources", ", ".join(parts), {**found, "fetched": fetched})


def told(result: FetchResult) -> str:
    """Return a mirror's counts in words."""
    missing = sum(result.not_here.values())
    return f"{result.files} files here, {result.came} came, {result.removed} removed, {missing} could not be had"


def _stand(found: dict[str, Any], name: str) -> str:
    """Return what a reader of the build must know of a source besides its rows."""
    survey = found["drift"][name]
    if survey["state"] == FIRST_USE:
        return f" (first use, recorded in infra/accepted/{name}.json: commit it)"
    return f" ({len(survey['changes'])} changes within limits)" if survey["changes"] else ""


if __name__ == "__main__":
    main(sources)
