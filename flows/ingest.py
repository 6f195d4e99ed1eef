"""ingest: source rows to catalog, pixels and quarantine, `ingest.workers` shards at once."""

from __future__ import annotations

from typing import Any

from prefect import flow, unmapped

from flows.entry import main, opened, publish
from pipelines.ingest.crew import crew
from tasks.ingest import plan, settle, shard


@flow(name="ingest", persist_result=False)
def ingest() -> dict[str, Any]:
    """Return the counts: rows in = catalog + quarantine."""
    workspace, params = opened()
    shards = plan(workspace, params)
    with crew(workspace, params, len(shards)) as hired:
        shard.map(unmapped(hired), unmapped(workspace), unmapped(params), shards).result()
    counts = settle(workspace, params)
    headline = "; ".join(
        f"{name}: {source.rows:,} rows, {source.catalog:,} in the catalog, {sum(source.quarantine.values()):,} in quarantine"
        for name, source in counts.sources.items()
    )
    return publish(workspace, "ingest", headline, counts)


if __name__ == "__main__":
    main(ingest, width=lambda params: params.ingest.workers)
