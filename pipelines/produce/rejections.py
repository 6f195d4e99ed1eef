"""What was refused, to be looked at: small pictures with the reason, a bounded number, and one sheet of them."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from typing import Final

from pipelines.imaging.normalise import decode_png
from pipelines.imaging.sheet import contact_sheet
from pipelines.produce.attempts import BlockRow
from pipelines.produce.gates import GATES, SURPLUS
from pipelines.produce.pictures import read_picture, small_picture
from pipelines.produce.plan import ProductionPlan, StratumPlan
from schemas.ledger import AttemptRow, RejectedRow
from schemas.paths import Workspace
from schemas.table import read_rows, write_bytes, write_rows
from schemas.words import FST_ROMAN

SHEET: Final = "sheet.png"
PER_CELL: Final = 6
"""Pictures in each cell of the sheet."""


class Rejections:
    """The first refused attempts of each reason in one stratum, at most `most` of each."""

    def __init__(self, stratum: StratumPlan, most: int) -> None:
        self._stratum, self._most = stratum, most
        self._kept: Counter[str] = Counter()
        self._rows: list[RejectedRow] = []

    def add(self, row: BlockRow, attempt: AttemptRow) -> None:
        """Take in an attempt, in seed order, and what became of it."""
        reason = attempt.reason
        if reason is None or reason == SURPLUS or self._kept[reason] >= self._most:
            return
        self._kept[reason] += 1
        picture = row.picture
        if picture is None:  # only the duplicate gate refused it, so the image itself is there
            assert row.image is not None
            picture = small_picture(decode_png(row.image.bytes), row.image_id)
        about = attempt.model_dump(include={"image_id", "modality", "fst", "lesion", "seed_index", "reason"})
        score = getattr(attempt, f"{reason}_score")
        message = row.message or f"{score:.2f} of the bound from an image already kept"
        self._rows.append(RejectedRow(**about, score=score, message=message, picture=picture))

    def write(self, workspace: Workspace) -> None:
        """Write production/rejected/<stratum>.parquet."""
        write_rows(self._rows, RejectedRow, workspace.rejected / self._stratum.file)


def write_rejection_sheet(workspace: Workspace, plan: ProductionPlan) -> None:
    """Draw production/rejected/sheet.png: skin types down, gates across, in each the first pictures by id.

    An id is a hash, so this is a fair draw of those kept, over all lesions, and the same on every run.
    """
    found: dict[tuple[str, str], list[RejectedRow]] = {}
    rows = list(dict.fromkeys(_label(s) for s in plan.strata))
    for stratum in plan.strata:
        for row in read_rows(workspace.rejected / stratum.file, RejectedRow):
            found.setdefault((_label(stratum), row.reason), []).append(row)
    chosen = {cell: sorted(mine, key=lambda r: r.image_id)[:PER_CELL] for cell, mine in found.items()}
    cells = {cell: [read_picture(row.picture) for row in mine] for cell, mine in chosen.items()}
    if not cells:
        (workspace.rejected / SHEET).unlink(missing_ok=True)
        return
    reasons = [gate for gate in GATES if any(reason == gate for _, reason in cells)]
    sheet = contact_sheet(
        cells, rows, reasons, per_cell=PER_CELL, scale=2, title="refused, by the first gate that failed"
    )
    buffer = BytesIO()
    sheet.save(buffer, "PNG")
    write_bytes(buffer.getvalue(), workspace.rejected / SHEET)


def _label(stratum: StratumPlan) -> str:
    return f"{stratum.modality.value} FST {FST_ROMAN[stratum.fst] if stratum.fst else 'unknown'}"
