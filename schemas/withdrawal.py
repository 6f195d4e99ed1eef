"""The withdrawal list, infra/withdrawn.csv: who and what must not be used any more, without saying who that is."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from schemas.table import Int32, Row
from schemas.words import ColourConstancy

TRAINING: Final = "training.parquet"
"""The file of TrainingImageRow beside a checkpoint."""


class WithdrawalKind(StrEnum):
    """What an entry takes out."""

    PATIENT = "patient"
    ROW = "row"
    IMAGE = "image"


class WithdrawalRow(Row):
    """One entry. The publisher's id is never in it: only its salted hash, and which salt that was."""

    date: str = Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="when it was withdrawn, UTC")
    dataset: str = Field(
        min_length=1, description="within what the id means one person or row: mostly the adapter's name"
    )
    kind: WithdrawalKind = Field(
        description="every row of a patient, one row, or these normalised pixels wherever they come from"
    )
    digest: str = Field(pattern=r"^[0-9a-f]{20}$", description="salted hash of the id, as in the catalog's patient_id")
    salt: str = Field(pattern=r"^[0-9a-f]{8}$", description="names the salt; under another one nothing would match")
    reason: str = Field(min_length=1)
    resolution: Int32 | None = Field(
        None,
        gt=0,
        description="of an image: ingest.resolution that made its pixels; under another one nothing would match",
    )
    colour_constancy: ColourConstancy | None = Field(
        None, description="of an image: ingest.colour_constancy that made its pixels; null (or no resolution): unknown"
    )
    of: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{20}$",
        description="of an image: digest of the patient or row that brought it along; null if it was named itself",
    )


class TrainingImageRow(Row):
    """One image a checkpoint learned from: models/<generator>/training.parquet."""

    image_id: str
    source: str
    patient_id: str | None = Field(description="salted hash; null where the publisher names none")
