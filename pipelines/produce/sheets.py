"""A contact sheet a stratum, rewritten while it fills: what a person looks at before the production is done."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from pipelines.imaging.normalise import decode_png
from pipelines.imaging.sheet import contact_sheet
from pipelines.produce.blocks import BlockCount
from pipelines.produce.plan import ProductionPlan, StratumPlan
from schemas.paths import Workspace
from schemas.table import write_bytes

ACROSS: Final = 8
IMAGES: Final = 32
"""Pictures on a sheet: a person sees that a stratum is all alike, or all wrong, on fewer."""
SECONDS: Final = 30.0
"""A sheet is rewritten no sooner than this after its last writing."""
SHOWN_PX: Final = 96
"""Pictures are enlarged to about this."""


def write_sheets(workspace: Workspace, plan: ProductionPlan) -> None:
    """Write every stratum's sheet from the shards: its first accepted images. The same shards, the same bytes."""
    for stratum in plan.strata:
        with pq.ParquetFile(workspace.shards / stratum.file) as shard:
            count = shard.metadata.num_rows
            first = next(shard.iter_batches(IMAGES, columns=["image"]), None)
        pictures = [decode_png(row["image"]["bytes"]) for row in first.to_pylist()] if first is not None else []
        _write(workspace, stratum, pictures, count)


def sheet_path(workspace: Workspace, stratum: StratumPlan) -> Path:
    """Return a stratum's sheet."""
    return workspace.sheets / Path(stratum.file).with_suffix(".png")


class FillingSheets:
    """Sheets of what has passed so far, in the order it came; `write_sheets` puts the final ones in their place."""

    def __init__(self, workspace: Workspace, plan: ProductionPlan, clock: Callable[[], float] = time.monotonic) -> None:
        """Write nothing yet."""
        self._workspace, self._clock = workspace, clock
        self._strata = {stratum.name: stratum for stratum in plan.strata}
        self._pictures: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in self._strata}
        self._passed = dict.fromkeys(self._strata, 0)
        self._written = dict.fromkeys(self._strata, -SECONDS)
        self._stale: set[str] = set()

    def take(self, count: BlockCount) -> None:
        """Add what a block's file holds while there is room, and rewrite the sheets that are due."""
        self._passed[count.stratum] += count.passed
        have = self._pictures[count.stratum]
        if count.passed and len(have) < IMAGES:
            table = pq.read_table(self._workspace.blocks / f"{count.key}.parquet", columns=["image"])
            found = [row["image"]["bytes"] for row in table.to_pylist() if row["image"] is not None]
            have += [decode_png(data) for data in found[: IMAGES - len(have)]]
            self._stale.add(count.stratum)
        now = self._clock()
        for name in [n for n in sorted(self._stale) if now - self._written[n] >= SECONDS]:
            _write(self._workspace, self._strata[name], self._pictures[name], self._passed[name])
            self._written[name] = now
            self._stale.discard(name)


def _write(workspace: Workspace, stratum: StratumPlan, pictures: Sequence[NDArray[np.uint8]], count: int) -> None:
    rows = [f"{at + 1}-{at + ACROSS}" for at in range(0, max(len(pictures), 1), ACROSS)]
    cells = {(row, ""): pictures[i * ACROSS : (i + 1) * ACROSS] for i, row in enumerate(rows)}
    scale = max(1, SHOWN_PX // pictures[0].shape[0]) if pictures else 1
    made = min(count, stratum.quota)  # more may have passed while it fills
    title = f"{stratum.name.replace('_', ' ')}: {made:,} of {stratum.quota:,}, by {stratum.generator}"
    sheet: Image.Image = contact_sheet(cells, rows, [""], per_cell=ACROSS, scale=scale, title=title)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    write_bytes(data.getvalue(), sheet_path(workspace, stratum))
