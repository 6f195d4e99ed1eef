"""train: one generator. `python -m flows.train diffusion`."""

from __future__ import annotations

import sys
from typing import Any

from prefect import flow

from flows.entry import main, opened, publish
from tasks.train import fit


@flow(name="train", persist_result=False)
def train(name: str) -> dict[str, Any]:
    """Return the losses and the digest of the generator's checkpoint."""
    workspace, params = opened()
    result = fit(name, workspace, params)
    done = "kept, nothing to learn anew" if result.reused else f"{result.images} images seen, from {result.start}"
    return publish(workspace, f"train@{name}", f"{done}; checkpoint {result.checkpoint_sha256[:12]}", result)


if __name__ == "__main__":
    main(train, *sys.argv[1:2])
