"""stratify: who is there, who is missing, and how many of each to make."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from tasks.stratify import split_and_count


@flow(name="stratify", persist_result=False)
def stratify() -> dict[str, Any]:
    """Return the strata and quotas."""
    workspace, params = opened()
    result = split_and_count(workspace, params)
    return publish(workspace, "stratify", result.summary, result)


if __name__ == "__main__":
    main(stratify)
