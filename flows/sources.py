"""sources: what is there to read, fetched first where it is not here. Always runs, so that ingest reruns exactly when
a source has changed."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from pipelines.fetch.source import FetchResult
from schemas.location_params import Location
from tasks.sources import fetch, fingerprint


@flow(name="sources", persist_result=False)
def sources() -> dict[str, Any]:
    """Return the fingerprint of every source, and what was fetched."""
    workspace, params = opened()
    remote = {n: s for n, s in params.sources.use.items() if isinstance(s, Location) and s.remote}
    fetched = {name: fetch(workspace, name, source) for name, source in remote.items()}
    found = fingerprint(workspace, params)
    parts = []
    for name, source in found["sources"].items():
        what = f" ({told(fetched[name])})" if name in fetched else ""
        parts.append(f"{name}: {source['rows']} rows{what}")
    return publish(workspace, "sources", ", ".join(parts), {**found, "fetched": fetched})


def told(result: FetchResult) -> str:
    """Return a mirror's counts in words."""
    missing = sum(result.not_here.values())
    return f"{result.files} files here, {result.came} came, {result.removed} removed, {missing} could not be had"


if __name__ == "__main__":
    main(sources)
