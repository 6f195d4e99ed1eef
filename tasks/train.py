"""One generator."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import create_image_artifact

from pipelines.train.launch import train_launched
from pipelines.train.run import TrainResult
from schemas.params import Params
from schemas.paths import Workspace
from tasks.progress import TrainingProgress
from tasks.unit import unit


@unit(name="fit")
def fit(name: str, workspace: Workspace, params: Params) -> TrainResult:
    """Return the checkpoint's digest and what it saw. Training resumes where a killed run stopped."""
    own = getattr(params.train, name, None)
    progress = TrainingProgress(name, own.images if own else 1)

    def show(report: Mapping[str, Any]) -> None:
        if "sheet" in report:
            publish_sheet(name, Path(report["sheet"]), report["images"])
        else:
            progress(report)

    try:
        return train_launched(name, workspace, params, show)
    finally:
        progress.close()


def publish_sheet(name: str, sheet: Path, images: int) -> None:
    """Show a sample sheet as a version of the artifact `sheet-<name>`; the picture itself is in it, no path or server."""
    data = base64.b64encode(sheet.read_bytes()).decode("ascii")
    create_image_artifact(
        image_url=f"data:image/png;base64,{data}", key=f"sheet-{name}", description=f"{name} after {images:,} images"
    )
