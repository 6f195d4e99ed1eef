"""Blocks on disk: the attempts of one stratum between two seed indices, judged by every gate but `duplicate`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipelines.produce.gates import JUDGES
from pipelines.produce.identity import digest
from pipelines.produce.likeness import SIDE
from pipelines.produce.plan import ProductionPlan, StratumPlan
from schemas.errors import CheckFailed
from schemas.ledger import Judged
from schemas.paths import Workspace
from schemas.table import Image, read_rows, write_rows

AFTERWARDS = {"max_rejection_ratio", "rejected_kept", "duplicate_bits"}
"""Parameters of the gates that are read when a production is settled: no block depends on them."""


class BlockPlan(BaseModel):
    """The unit of work and of resume: attempts [start, stop) of one stratum. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str = Field(description="digest of everything that decides the block's content, and its file's name")
    stratum: StratumPlan
    start: int = Field(ge=0, description="first seed index")
    stop: int = Field(ge=1, description="seed index after the last")


class BlockRow(Judged):
    """One attempt before the duplicate gate. The image is kept only if it passed the others."""

    message: str | None = Field(description="what the first gate that refused it said")
    thumb: bytes = Field(description="16 x 16 x 3 uint8, for the duplicate gate")
    image: Image | None
    picture: Image | None = Field(description="of a refused one: 32 px, JPEG, to be looked at")
    seal: str = Field(description="sha256 over the row's other fields: a damaged block is told from a whole one")

    def first_failed(self) -> str | None:
        """Return the first gate that refused it, None if none did."""
        return next((gate for gate in JUDGES if not getattr(self, f"{gate}_passed")), None)


def plan_block(plan: ProductionPlan, stratum: StratumPlan, start: int, stop: int) -> BlockPlan:
    """Return the block of attempts [start, stop); its key changes with anything that changes its content."""
    keys = plan.image_ids(stratum, start, stop)
    thresholds = plan.gates.model_dump(exclude=AFTERWARDS)
    key = digest([plan.calibration.digest, thresholds, stratum.band_deg, keys])
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


def write_block(workspace: Workspace, block: BlockPlan, rows: Sequence[BlockRow]) -> Path:
    """Return the block's file once it is there, whole.

    Written under a name of this writer alone: a worker that was given up for lost may still be writing the same block.
    """
    path = block_path(workspace, block)
    own = path.with_name(f".{block.key}-{uuid4().hex[:12]}.parquet")
    write_rows(rows, BlockRow, own)
    return own.replace(path)


def sealed(row: BlockRow) -> BlockRow:
    """Return the row with its seal."""
    values = row.model_dump(exclude={"seal"})
    return row.model_copy(update={"seal": hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()})


def _whole(row: BlockRow) -> bool:
    """Return whether the row is what was written, with an image exactly if it passed, else with a picture."""
    refused = row.first_failed() is not None
    return row == sealed(row) and (row.image is None) == refused == (row.picture is not None)


def thumbs_of(rows: Sequence[BlockRow]) -> NDArray[np.uint8]:
    """Return the rows' thumbnails, uint8 (n, 16, 16, 3)."""
    return np.frombuffer(b"".join(row.thumb for row in rows), np.uint8).reshape(len(rows), SIDE, SIDE, 3)


@lru_cache(maxsize=16)
def read_thumbs(path: Path) -> NDArray[np.uint8]:
    """Return the thumbnails in a block's file, uint8 (n, 16, 16, 3), in seed order; of the last 16 files from memory.

    Raises:
        CheckFailed: the file was there and is not readable any more.
    """
    try:
        data = pq.read_table(path, columns=["thumb"])["thumb"].to_pylist()
        return np.frombuffer(b"".join(data), np.uint8).reshape(len(data), SIDE, SIDE, 3)
    except (OSError, pa.ArrowException, ValueError):
        raise lost_block(path) from None


def lost_block(path: Path) -> CheckFailed:
    """Return the error for a block that was whole when it was counted and is not any more."""
    return CheckFailed(
        f"production/blocks/{path.name}: lost or damaged since it was made; run `equiderm produce` again, it makes it anew"
    )
