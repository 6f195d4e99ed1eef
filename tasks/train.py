"""One generator."""

from __future__ import annotations

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
    try:
        return train_launched(name, workspace, params, progress)
    finally:
        progress.close()
