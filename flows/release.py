"""release: one versioned folder that needs none of our code to be read."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from tasks.release import write


@flow(name="release", persist_result=False)
def release() -> dict[str, Any]:
    """Return what was written and where."""
    workspace, params = opened()
    result = write(workspace, params)
    images = result.facts.counts.get("images", 0)
    headline = f"{params.release.name} {params.release.version}: {images} images, digest {result.digest[:12]}"
    return publish(workspace, "release", headline, result)


if __name__ == "__main__":
    main(release)
