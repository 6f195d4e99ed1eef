"""Rows of production/pilot.parquet: which generator makes which stratum, and why."""

from __future__ import annotations

from pydantic import Field

from schemas.table import Int8, Int32, Row
from schemas.words import Lesion, Modality


class PilotRow(Row):
    """What one candidate's pilot came to in one stratum. One candidate a stratum is chosen."""

    modality: Modality
    fst: Int8 | None
    lesion: Lesion
    generator: str
    checkpoint_sha256: str
    attempts: Int32 = Field(ge=1, description="the candidate's first attempts of the stratum")
    passed: Int32 = Field(ge=0, description="of them, by every gate but `duplicate`, which needs the whole release")
    yield_low: float = Field(ge=0, le=1, description="Wilson bounds of passed / attempts at produce.pilot.confidence")
    yield_high: float = Field(ge=0, le=1)
    kid: float | None = Field(
        description="kernel distance of the passed images to the stratum's real validation images, in the gates' "
        "features; null with fewer than produce.pilot.min_images of either"
    )
    validation_images: Int32 = Field(ge=0, description="real ones of the stratum")
    chosen: bool
    reason: str = Field(description="why the chosen one was; the same in every row of the stratum")
    key: str = Field(description="digest of everything the decision follows from: another digest, another pilot")
