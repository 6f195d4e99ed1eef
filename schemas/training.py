"""Rows that a training leaves beside its checkpoint: what it learned of each stratum, and what its looks measured."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from schemas.table import Int8, Row
from schemas.words import Lesion, Modality

STRATUM_LOSSES: Final = "losses_by_stratum.parquet"
LOOKS: Final = "looks.parquet"


class StratumLossRow(Row):
    """One stratum at one noise level, after so many images: models/<generator>/losses_by_stratum.parquet."""

    images: int = Field(ge=0, description="images seen in all when this was recorded")
    modality: Modality
    fst: Int8 | None
    lesion: Lesion
    noise_bin: Int8 = Field(ge=0, description="0 is the least noise")
    shown: int = Field(ge=0, description="images of this stratum seen at this noise level so far")
    loss: float = Field(description="running mean, half-life 200 images of the cell")
    relative: float = Field(
        description="running mean of the loss over that of all strata at this noise level at the time"
    )
    weight: float = Field(gt=0, description="loss weight; 1 where group weights are off")


class LookMeasure(StrEnum):
    """kid: against real validation images. diversity: variety within a cell of the sheet, over real images'."""

    KID = "kid"
    DIVERSITY = "diversity"


class LookRow(Row):
    """One thing measured on samples of a run under way: models/<generator>/looks.parquet."""

    images: int = Field(ge=0, description="images seen in training")
    measure: LookMeasure
    group: str = Field(description="a stratum, `<modality>/<FST>/other lesions`, or `all`")
    value: float
