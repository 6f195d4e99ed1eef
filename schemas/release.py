"""Rows of a release: what an ML team reads with its own tools."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from schemas.table import Image, Int8, Row
from schemas.words import Kind, Lesion, Modality, Split, Support


class IndexRow(Row):
    """One released image without its pixels."""

    image_id: str
    kind: Kind
    modality: Modality
    fst: Int8 | None = Field(description="of a real image: from a person; of a synthetic one: as requested")
    lesion: Lesion
    split: Split = Field(description="synthetic images are always `train`")
    ita_deg: float | None = Field(description="measured, degrees")
    source: str = Field(description="the dataset of a real image; the generator of a synthetic one")
    licence: str = Field(description="of the source; a synthetic image inherits the most restrictive")
    shard: str | None = Field(description="file under data/ with the pixels; null if its licence forbids sharing")
    sha256: str = Field(description="of the image's encoded bytes")
    seed_index: int | None
    checkpoint_sha256: str | None
    support: str | None = Field(description="support level of the stratum when a synthetic image was made")


class ReleaseImageRow(Row):
    """One released image with its pixels and the labels a training loop needs."""

    image_id: str
    image: Image
    kind: Kind
    modality: Modality
    fst: Int8 | None
    lesion: Lesion
    split: Split


class BalanceRow(Row):
    """One stratum before and after: who was missing, what was made, and what is still missing and why."""

    modality: Modality
    fst: Int8 | None
    lesion: Lesion
    n_real: int = Field(ge=0, description="real training images: before")
    n_synthetic: int = Field(ge=0, description="accepted synthetic images")
    n_after: int = Field(ge=0, description="n_real + n_synthetic: after")
    target: int = Field(ge=0, description="training images wanted")
    need: int = Field(ge=0, description="synthetic images wanted")
    quota: int = Field(ge=0, description="synthetic images asked for; below need where a cap or floor forbade more")
    attempts: int = Field(ge=0, description="images generated to fill the quota")
    shortfall: int = Field(ge=0, description="quota - n_synthetic: asked for, not made")
    missing: int = Field(ge=0, description="need - n_synthetic: everything still missing from the target")
    support: Support
    reason: str | None = Field(description="why anything is missing; null where nothing is")


class QuarantineCountRow(Row):
    """How many source rows did not enter, by reason. The rows themselves stay in the workspace."""

    source: str
    code: str
    rows: int = Field(ge=1)


class ReleaseFacts(BaseModel):
    """release.json: what this release is. From the inputs alone; it holds no date, so a rerun gives the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: str
    licence: str = Field(description="the most restrictive of all sources and models in it")
    licence_name: str
    licence_allows: list[str]
    modalities: list[Modality]
    generators: list[str]
    counts: dict[str, int]
    code_version: str = Field(description="version of the equiderm package that wrote it")
    code_sha256: str = Field(description="sha256 over the sources of pipelines/ and schemas/ that wrote it")
    params_sha256: str = Field(description="sha256 of the parameters as canonical JSON")
    contact: str


SUMS: Final = "SHA256SUMS"
"""Names every other file of a release with its sha256; its own sha256 is the release's digest."""


class Finding(BaseModel):
    """One thing that is wrong with a release."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    code: str = Field(description="changed, missing, extra, unreadable, count or pixels")
    file: str = Field(description="relative to the release")
    message: str
