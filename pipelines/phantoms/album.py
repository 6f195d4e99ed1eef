"""Phantoms as files, to be looked at: one PNG each, their truth as CSV, and a sheet by skin type and lesion."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.normalise import encode_png
from pipelines.imaging.sheet import contact_sheet
from pipelines.phantoms.scene import draw
from schemas.source_params import PhantomSource
from schemas.words import FST_ROMAN, LESION_SHORT

PER_CELL = 3
SHEET_SCALE = 2


def write_album(source: PhantomSource, folder: Path) -> dict[str, str | int]:
    """Return what was written to `folder`: `count` PNG files, truth.csv (a row each) and sheet.png.

    Every picture is marked a phantom by its name; the same source gives the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cells: dict[tuple[str, str], list[NDArray[np.uint8]]] = defaultdict(list)
    with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as handle:
        table: csv.DictWriter[str] | None = None
        for index in range(source.count):
            phantom = draw(source, index)
            name = f"phantom-{source.seed}-{index:06d}.png"
            (folder / name).write_bytes(encode_png(phantom.pixels))
            cell = cells[FST_ROMAN[phantom.fst], LESION_SHORT[phantom.lesion]]
            if len(cell) < PER_CELL:
                cell.append(phantom.pixels)
            row = {"file": name, **{k: v for k, v in asdict(phantom).items() if k not in ("pixels", "mask")}}
            row |= {"lesion": phantom.lesion.value, "ita_deg": round(phantom.ita_deg, 3)}
            if table is None:
                table = csv.DictWriter(handle, list(row))
                table.writeheader()
            table.writerow(row)
    columns = [LESION_SHORT[lesion] for lesion in source.lesion_shares]
    title = f"{source.count} phantoms, seed {source.seed}"
    sheet = contact_sheet(cells, list(FST_ROMAN.values()), columns, per_cell=PER_CELL, scale=SHEET_SCALE, title=title)
    sheet.save(folder / "sheet.png")
    return {"folder": str(folder), "count": source.count, "sheet": str(folder / "sheet.png")}
