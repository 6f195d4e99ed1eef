"""What is shown and measured of a training under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.embedding.extractor import default_extractor
from pipelines.generators.checkpoint import read_config
from pipelines.generators.interface import Recipe
from pipelines.generators.registry import load_generator
from pipelines.train.data import TrainingSet
from pipelines.train.early_stop import Seen
from pipelines.train.judge import Judge
from pipelines.train.loop import Run
from pipelines.train.sheets import Pixels, draw_sheet, keep_snapshot, sheet_conditions
from pipelines.train.variety import variety
from schemas.params import SamplerParams
from schemas.train_params import WatchParams

FINAL = "final"
"""Name of the sheet of what a run ended with."""

Progress = Callable[[Mapping[str, Any]], None]


class Observer:
    """What is shown and measured of a run whenever its state is saved and at its end: a sheet, its variety and, if asked,
    KID by group."""

    def __init__(
        self, recipe: Recipe, data: TrainingSet, held_out: TrainingSet | None, watch: WatchParams, folder: Path,
        on_progress: Progress, judged: bool, sampler: SamplerParams = SamplerParams(),
    ) -> None:  # fmt: skip
        """Prepare; see `Judge` for its errors.

        Args:
            judged: whether KID by group will be asked for.
            sampler: how a checkpoint will be drawn from when it is done; it is shown and judged so.
        """
        self.recipe, self.data, self.folder, self.on_progress = recipe, data, folder, on_progress
        self.conditions = sheet_conditions(data)
        self.judge = Judge(held_out, watch, default_extractor) if judged else None
        self.looks_judge, self.sampler = watch.patience > 0, sampler
        self.last: str | None = None  # sha256 of the weights in the final sheet

    def saved(self, run: Run) -> Seen:
        """Draw and measure the averaged weights of a run under way or just ended."""
        snapshot = keep_snapshot(self.recipe, run.average, run.images, self.folder)
        if run.turn:
            return Seen(variety(self._draw(snapshot, "again", run), self.data))
        drawn = self._draw(snapshot, FINAL if run.ended else f"{run.images:08d}", run)
        self.last = read_config(snapshot)["sha256"] if run.ended else None
        return Seen(variety(drawn, self.data), self._kid() if self.looks_judge else {})

    def show_finished(self, run: Run, digest: str) -> None:
        """Draw the finished checkpoint, unless the last look has drawn the very same weights already."""
        if digest != self.last:
            run.turn = 0
            self._draw(self.folder, FINAL, run)

    def kid_of(self, run: Run) -> dict[str, float]:
        """Return the KID by group of what `run.average` draws."""
        keep_snapshot(self.recipe, run.average, run.images, self.folder)
        return self._kid()

    def _kid(self) -> dict[str, float]:
        assert self.judge is not None
        return self.judge(load_generator(self.folder / "snapshot", self.sampler))

    def _draw(self, checkpoint: Path, name: str, run: Run) -> Pixels:
        """Draw a sheet of that name, report where it lies and return its pictures."""
        sheet = self.folder / "sheets" / f"{name}.png"
        title = f"{self.recipe.name}, {run.images:,} images seen on {len(self.data.conditions):,}"
        drawn = draw_sheet(checkpoint, self.conditions, title, sheet, self.sampler, run.turn)
        self.on_progress({"sheet": str(sheet), "images": run.images})
        return drawn
