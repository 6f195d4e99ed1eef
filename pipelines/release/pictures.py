"""Which images are shown, and the contact sheet of them: the first of each stratum by id, never picked by eye."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.imaging.normalise import decode_png, encode_png
from pipelines.imaging.sheet import contact_sheet, strip
from pipelines.release.inputs import Inputs
from schemas.words import FST_ROMAN, Kind, Lesion

Pixels = NDArray[np.uint8]
Stratum = tuple[str, int | None, str]
Shown = Mapping[tuple[Kind, Stratum], Sequence[Pixels]]

MAX_SIDE: Final = 128
"""Larger images are shown reduced to this side, px, so that a report stays a few MB at any resolution."""

_FIRST: Final = """
WITH chosen AS (
    SELECT image_id, kind, modality, fst, lesion FROM released
    WHERE shared AND split = 'train'
    QUALIFY row_number() OVER (PARTITION BY kind, modality, fst, lesion ORDER BY image_id) <= $per_cell
)
SELECT c.kind, c.modality, c.fst, c.lesion, p.image.bytes AS png
FROM chosen c JOIN pixels p USING (image_id)
ORDER BY c.kind, c.modality, c.fst, c.lesion, c.image_id
"""


def choose_pictures(inputs: Inputs) -> Shown:
    """Return the first `release.sheet_per_cell` training images of each kind and stratum by id: uint8 (r, r, 3).

    An id is a hash, so this is a fair draw and the same on every run. Images that may not be shared are not shown.
    """
    shown: dict[tuple[Kind, Stratum], list[Pixels]] = {}
    for row in inputs.rows(_FIRST, {"per_cell": inputs.params.release.sheet_per_cell}):
        stratum = (row["modality"], row["fst"], row["lesion"])
        shown.setdefault((Kind(row["kind"]), stratum), []).append(_reduced(decode_png(row["png"])))
    return shown


def release_sheet(shown: Shown, strata: Sequence[Stratum], per_cell: int, title: str) -> Image.Image:
    """Return the contact sheet: lesions across, and for each skin type a row of real and one of synthetic images."""
    lesions = [lesion.value for lesion in Lesion if any(lesion == asked for _, _, asked in strata)]
    kinds_of_skin = list(dict.fromkeys((modality, fst) for modality, fst, _ in strata))
    several = len({modality for modality, _ in kinds_of_skin}) > 1
    rows: list[str] = []
    cells: dict[tuple[str, str], Sequence[Pixels]] = {}
    for modality, fst in kinds_of_skin:
        for kind in (Kind.REAL, Kind.SYNTHETIC):
            row = f"{modality + ' ' if several else ''}{fst_label(fst)} {kind}"
            rows.append(row)
            cells |= {(row, lesion): shown.get((kind, (modality, fst, lesion)), ()) for lesion in lesions}
    return contact_sheet(cells, rows, lesions, per_cell=per_cell, title=title)


def fst_label(fst: int | None) -> str:
    """Return a skin type as it is written in pictures and tables, e.g. `FST VI`."""
    return f"FST {FST_ROMAN[fst]}" if fst else "FST unknown"


def strip_uri(pictures: Sequence[Pixels]) -> str:
    """Return pictures side by side as one PNG data URI."""
    return "data:image/png;base64," + base64.b64encode(encode_png(strip(pictures))).decode("ascii")


def _reduced(pixels: Pixels) -> Pixels:
    if pixels.shape[0] <= MAX_SIDE:
        return pixels
    return np.array(Image.fromarray(pixels).resize((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX), dtype=np.uint8)
