"""Blocks on disk: the attempts of one stratum between two seed indices, judged by every gate but `duplicate`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipelines.produce.gates import GATES
from pipelines.produce.identity import digest
from pipelines.produce.likeness import SIDE
from pipelines.produce.plan import ProductionPlan, StratumPlan
from schemas.errors import CheckFailed
from schemas.paths import Workspace
from schemas.table import Image, Int32, Row, read_rows


class BlockPlan(BaseModel):
    """The unit of work and of resume: attempts [start, stop) of one stratum. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str = Field(description="digest of everything that decides the block's content, and its file's name")
    stratum: StratumPlan
    start: int = Field(ge=0, description="first seed index")
    stop: int = Field(ge=1, description="seed index after the last")


class BlockRow(Row):
    """One attempt before the duplicate gate. The image is kept only if it passed the others."""

    image_id: str
    seed_index: Int32
    ita_deg: float | None
    blank_passed: bool
    blank_score: float
    tone_passed: bool
    tone_score: float
    lesion_passed: bool
    lesion_score: float
    copy_passed: bool
    copy_score: float
    thumb: bytes = Field(description="16 x 16 x 3 uint8, for the duplicate gate")
    image: Image | None
    seal: str = Field(description="sha256 over the row's other fields: a damaged block is told from a whole one")

    def first_failed(self) -> str | None:
        """Return the first gate that refused it, None if none did."""
        return next((gate for gate in GATES if not getattr(self, f"{gate}_passed")), None)


def plan_block(plan: ProductionPlan, stratum: StratumPlan, start: int, stop: int) -> BlockPlan:
    """Return the block of attempts [start, stop); its key changes with anything that changes its content."""
    keys = plan.image_ids(stratum, start, stop)
    key = digest([plan.calibration.digest, plan.gates.model_dump(), stratum.band_deg, keys])
    return BlockPlan(key=key, stratum=stratum, start=start, stop=stop)


def block_path(workspace: Workspace, block: BlockPlan) -> Path:
    """Return the block's file."""
    return workspace.blocks / f"{block.key}.parquet"


def read_block(workspace: Workspace, plan: ProductionPlan, block: BlockPlan) -> list[BlockRow] | None:
    """Return the block's rows, or None if it has not been made or its file is damaged: then it is to be made again."""
    path = block_path(workspace, block)
    try:
        rows = read_rows(path, BlockRow)
    except (OSError, pa.ArrowException, CheckFailed, ValueError):
        return None
    if [row.image_id for row in rows] != plan.image_ids(block.stratum, block.start, block.stop):
        return None
    return rows if all(_whole(row) for row in rows) else None


def sealed(row: BlockRow) -> BlockRow:
    """Return the row with its seal."""
    values = row.model_dump(exclude={"seal"})
    return row.model_copy(update={"seal": hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()})


def _whole(row: BlockRow) -> bool:
    """Return whether the row is what was written, with an image exactly if it passed."""
    return row == sealed(row) and (row.image is None) == (row.first_failed() is not None)


def thumbs_of(rows: Sequence[BlockRow]) -> NDArray[np.uint8]:
    """Return the rows' thumbnails, uint8 (n, 16, 16, 3)."""
    return np.frombuffer(b"".join(row.thumb for row in rows), np.uint8).reshape(len(rows), SIDE, SIDE, 3)
