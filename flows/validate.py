"""validate: the catalog against its expectations; a critical one that fails stops the build."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from tasks.validate import check


@flow(name="validate", persist_result=False)
def validate() -> dict[str, Any]:
    """Return what each expectation said.

    Raises:
        CheckFailed: a critical one failed; names it and the rows.
    """
    workspace, params = opened()
    result = check(workspace, params)
    summary = publish(workspace, "validate", result.summary, result)
    result.require_passed()
    return summary


if __name__ == "__main__":
    main(validate)
