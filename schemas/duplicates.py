"""Rows written by dedupe: which images show the same picture, and how that was seen."""

from __future__ import annotations

from pydantic import Field

from schemas.table import Float32, Int8, Row


class ClusterRow(Row):
    """One catalog row that shows the same picture as another one. Rows that are alone are not listed.

    But for one whose exact copy, which stayed out at ingest, names another lesion: it is a cluster of its own, not kept.
    """

    dup_cluster: str = Field(description="the smallest image_id of the cluster")
    image_id: str
    source: str
    source_row_id: str
    kept: bool = Field(description="false: left out of everything after dedupe, and listed in its quarantine")


class PairRow(Row):
    """Two catalog rows that were compared closely, because their perceptual hashes are near."""

    image_id: str
    other_id: str = Field(description="the larger of the two")
    pose: Int8 = Field(
        ge=0, le=7, description="how image_id must be turned: +1 mirrored, +2 upside down, +4 transposed"
    )
    hash_bits: Int8 = Field(ge=0, le=64, description="bits in which the hashes differ in that pose")
    structure: Float32 = Field(description="cosine of their low frequencies in that pose")
    detail: Float32 = Field(description="cosine of their middle frequencies in that pose")
    similarity: Float32 | None = Field(
        description="cosine of their features in that pose, by the embedded extractor; null where detail decided"
    )
    same_lesion: bool = Field(description="one source has both as photos of one lesion: a series, not a duplicate")
    confirmed: bool = Field(description="the same picture")
