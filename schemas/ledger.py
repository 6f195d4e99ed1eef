"""Rows written by produce: one for every attempt, kept or not. Enough to rebuild every count of a release."""

from __future__ import annotations

from pydantic import Field

from schemas.table import Image, Int8, Int32, Row
from schemas.words import Lesion, Modality


class Judged(Row):
    """What every gate that looks at one image alone said of it: the one place where a gate's columns are declared.

    A gate of `pipelines.produce.gates.GATES` has `<gate>_passed` and `<gate>_score` here, in the gates' order.
    """

    image_id: str = Field(description="sha256 over checkpoint, sampler settings, stratum and seed index, 24 hex digits")
    seed_index: Int32 = Field(ge=0, description="the attempt's number within its stratum")
    ita_deg: float | None = Field(description="measured on the image, degrees")
    blank_passed: bool
    blank_score: float = Field(description="standard deviation of the pixels, 0-255")
    tone_passed: bool
    tone_score: float = Field(description="degrees outside the requested ITA band; 0 inside")
    lesion_passed: bool
    lesion_score: float = Field(description="the lesion probe's probability of the requested lesion, 0-1")
    copy_passed: bool
    copy_score: float = Field(
        description="distance to the nearest training image over the calibrated bound; < 1 is a copy"
    )


class AttemptRow(Judged):
    """One attempt to make one image: what was asked, what came, what each gate said."""

    duplicate_passed: bool
    duplicate_score: float = Field(
        description="distance to the nearest kept image over the calibrated bound, 1 at most; < 1 is a duplicate"
    )
    accepted: bool
    reason: str | None = Field(description="the first gate that failed, or `surplus`; null if accepted")
    modality: Modality
    fst: Int8 | None
    lesion: Lesion
    generator: str
    checkpoint_sha256: str
    sampler: str = Field(description="the sampler settings as canonical JSON")


class SyntheticRow(Row):
    """The pixels of one accepted synthetic image."""

    image_id: str
    image: Image
