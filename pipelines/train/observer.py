"""What is shown and measured of a training under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.embedding.extractor import default_extractor
from pipelines.generators.interface import Recipe
from pipelines.generators.registry import load_generator
from pipelines.train.data import TrainingSet
from pipelines.train.early_stop import Seen
from pipelines.train.judge import Judge
from pipelines.train.loop import Run
from pipelines.train.sheets import keep_snapshot, sheet_conditions, snapshot_sheet
from pipelines.train.variety import variety
from schemas.params import SamplerParams
from schemas.train_params import WatchParams

Progress = Callable[[Mapping[str, Any]], None]


class Observer:
    """What is shown and measured of a run whenever its state is saved: a sheet, its variety and, if asked, KID by group."""

    def __init__(
        self, recipe: Recipe, data: TrainingSet, held_out: TrainingSet | None, watch: WatchParams, folder: Path,
        on_progress: Progress, judged: bool,
    ) -> None:  # fmt: skip
        """Prepare; see `Judge` for its errors.

        Args:
            judged: whether KID by group will be asked for.
        """
        self.recipe, self.data, self.folder, self.on_progress = recipe, data, folder, on_progress
        self.conditions = sheet_conditions(data)
        self.judge = Judge(held_out, watch, default_extractor) if judged else None
        self.looks_judge = watch.patience > 0

    def saved(self, run: Run) -> Seen:
        """Draw and measure the averaged weights of a run under way."""
        sheet, drawn = snapshot_sheet(self.recipe, run.average, self.conditions, run.images, self.folder)
        self.show(sheet, run.images)
        return Seen(variety(drawn, self.data), self._kid() if self.looks_judge else {})

    def kid_of(self, run: Run) -> dict[str, float]:
        """Return the KID by group of what `run.average` draws."""
        keep_snapshot(self.recipe, run.average, run.images, self.folder)
        return self._kid()

    def _kid(self) -> dict[str, float]:
        assert self.judge is not None
        return self.judge(load_generator(self.folder / "snapshot", SamplerParams()))

    def show(self, sheet: Path, images: int) -> None:
        """Report where a sheet lies."""
        self.on_progress({"sheet": str(sheet), "images": images})
