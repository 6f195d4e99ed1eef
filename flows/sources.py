"""sources: what is there to read. Always runs, so that ingest reruns exactly when a source has changed."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from tasks.sources import fingerprint


@flow(name="sources", persist_result=False)
def sources() -> dict[str, Any]:
    """Return the fingerprint of every source."""
    workspace, params = opened()
    found = fingerprint(workspace, params)
    headline = ", ".join(f"{name}: {source['rows']} rows" for name, source in found["sources"].items())
    return publish(workspace, "sources", headline, found)


if __name__ == "__main__":
    main(sources)
