"""dedupe: which pictures are there more than once, and what becomes of them."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from tasks.dedupe import find


@flow(name="dedupe", persist_result=False)
def dedupe() -> dict[str, Any]:
    """Return the counts: clusters, and quarantine by reason."""
    workspace, params = opened()
    result = find(workspace, params)
    return publish(workspace, "dedupe", result.summary, result)


if __name__ == "__main__":
    main(dedupe)
