"""Rows written by stratify: who is there, and who is missing."""

from __future__ import annotations

from pydantic import Field

from schemas.table import Int8, Row
from schemas.words import Lesion, Modality, Support


class StratumRow(Row):
    """One modality x FST x lesion cell. Cells with no real image are listed too: they are who is missing."""

    modality: Modality
    fst: Int8 | None
    lesion: Lesion
    n_real: int = Field(ge=0)
    n_train: int = Field(ge=0)
    n_validation: int = Field(ge=0)
    n_test: int = Field(ge=0)
    share: float = Field(ge=0, le=1, description="of the modality's images")
    ita_p05: float | None = Field(description="ITA quantiles of the FST's training images, degrees")
    ita_p50: float | None
    ita_p95: float | None
    support: Support


class QuotaRow(Row):
    """How many images of a stratum to make, and why not more."""

    modality: Modality
    fst: Int8 | None
    lesion: Lesion
    target: int = Field(ge=0, description="real training images plus synthetic ones wanted")
    have: int = Field(ge=0, description="real training images")
    need: int = Field(ge=0, description="synthetic images wanted: max(0, target - have)")
    cap: int = Field(ge=0, description="most synthetic images allowed for this stratum")
    quota: int = Field(ge=0, description="synthetic images to make: min(need, cap)")
    support: Support
    reason: str | None = Field(description="why quota < need; null where it is not")
