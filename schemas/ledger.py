"""Rows written by produce: one for every attempt, kept or not. Enough to rebuild every count of a release."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from schemas.table import Image, Int8, Int32, Row
from schemas.words import Lesion, Modality


class Judged(Row):
    """What every gate that looks at one image alone said of it: the one place where a gate's columns are declared.

    In the gates' order, cheapest first. A null score: the gate abstained.
    """

    image_id: str = Field(
        description="sha256 over checkpoint, settings (the sampler's, the seed, the range of ITA), stratum, attempt; 24 hex digits"
    )
    seed_index: Int32 = Field(ge=0, description="the attempt's number within its stratum")
    ita_deg: float | None = Field(description="measured on the image, degrees")
    decodable_passed: bool = Field(description="its file decodes to the same pixels")
    decodable_score: float = Field(description="share of the pixels that its file gives back as they were, 0-1")
    blank_passed: bool = Field(description="not blank")
    blank_score: float = Field(description="standard deviation of the pixels, 0-255")
    tone_passed: bool = Field(description="measured skin tone in the band asked for")
    tone_score: float = Field(description="degrees outside the requested ITA band; 0 inside")
    tone_probe_passed: bool = Field(description="skin type as a probe trained on real images reads it")
    tone_probe_score: float | None = Field(
        description="the skin type probe's probability of the requested type or a neighbour, 0-1"
    )
    lesion_passed: bool = Field(description="lesion recognised by a probe trained on real images")
    lesion_score: float = Field(description="the lesion probe's probability of the requested lesion, 0-1")
    outlier_passed: bool = Field(description="no stranger to the real images than they are to each other")
    outlier_score: float | None = Field(
        description="distance to the real images over the calibrated bound; > 1 is an outlier"
    )
    copy_passed: bool = Field(description="not a copy of a training image")
    copy_score: float = Field(
        description="distance to the nearest training image over the calibrated bound; < 1 is a copy"
    )


class AttemptRow(Judged):
    """One attempt to make one image: what was asked, what came, what each gate said."""

    duplicate_passed: bool = Field(description="not a duplicate of another released one")
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
    choice: str | None = Field(description="why this generator makes the stratum; null where params name no other")
    sampler: str = Field(description="the sampler settings as canonical JSON")


GATES: Final = tuple(n.removesuffix("_passed") for n in AttemptRow.model_fields if n.endswith("_passed"))
"""Every gate, in the order they are asked: the one list. The first that fails is the attempt's reason."""

GATE_ASKS: Final = {gate: str(AttemptRow.model_fields[f"{gate}_passed"].description) for gate in GATES}
"""What an image has to be to pass each gate."""

GATE_SCORES: Final = {gate: str(AttemptRow.model_fields[f"{gate}_score"].description) for gate in GATES}
"""What each gate's score is."""

SURPLUS: Final = "surplus"
"""The reason of an image that passed every gate when its stratum was full: not a rejection."""


class SyntheticRow(Row):
    """The pixels of one accepted synthetic image."""

    image_id: str
    image: Image


class RejectedRow(Row):
    """A refused attempt that is kept to be looked at: a small picture and why. At most so many a stratum and reason."""

    image_id: str
    modality: Modality
    fst: Int8 | None
    lesion: Lesion
    seed_index: Int32 = Field(ge=0)
    reason: str = Field(description="the first gate that failed")
    score: float | None = Field(description="of that gate")
    message: str = Field(description="what that gate said, with its limit")
    picture: Image = Field(description="reduced to 32 px or less, JPEG")
