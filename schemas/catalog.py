"""Rows written by ingest and stratify: the catalog, its pixels, and what did not enter: the quarantine and the copies."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from schemas.table import Float32, Image, Int8, Int32, Row
from schemas.words import ColourConstancy, FstSource, Lesion, LesionGroup, Malignancy, Modality, Split, ToneGroup

LABEL_CONFLICT: Final = "label_conflict"
"""Code of a row whose picture, or whose id, another row gives another diagnosis: nobody here can say which is right."""


class CatalogRow(Row):
    """One real image that entered. `ita_deg` is measured, `fst` comes from a person; neither is derived from the other."""

    image_id: str = Field(description="first 24 hex digits of sha256 over the normalised pixels")
    source: str
    source_row_id: str = Field(description="the publisher's own key for the row")
    source_sha256: str = Field(description="sha256 of the source file's bytes")
    patient_id: str | None = Field(description="salted hash; null where the publisher names none")
    lesion_id: str | None = Field(description="salted hash; null where the publisher names none")
    modality: Modality
    lesion: Lesion
    lesion_raw: str
    fst: Int8 | None = Field(ge=1, le=6, description="Fitzpatrick skin type 1-6, from a person; null if unknown")
    fst_source: FstSource | None
    ita_deg: Float32 | None = Field(description="individual typology angle of the skin around the lesion, degrees")
    ita_pixels: Int32 = Field(
        ge=0, description="skin pixels the ITA was measured on, of the picture reduced to 48-95 px"
    )
    colour_constancy: ColourConstancy = Field(description="applied to the pixels before they were named and measured")
    mask: bool = Field(description="whether the publisher gives a lesion mask for it")
    width: Int32 = Field(gt=0, description="of the source file, after EXIF rotation, px")
    height: Int32 = Field(gt=0, description="of the source file, after EXIF rotation, px")
    licence: str
    licence_allows: list[str] = Field(description="subset of commercial, share, derive")
    site: str | None
    age_band: str | None = Field(description="decade, e.g. 40-49")
    sex: str | None
    split: Split | None = Field(description="null until stratify")
    dup_cluster: str | None
    malignancy: Malignancy | None = Field(None, description="of the lesion, from the taxonomy")
    lesion_group: LesionGroup | None = Field(None, description="coarser family of the lesion, from the taxonomy")
    label_weight: Float32 | None = Field(
        None, ge=0, le=1, description="weight of the label in a weighted differential; null where it is the only one"
    )
    fst_second: Int8 | None = Field(
        None, ge=1, le=6, description="a second person's Fitzpatrick type; never stands in for a missing fst"
    )
    fst_second_source: FstSource | None = None
    tone_group: ToneGroup | None = Field(
        None, description="the publisher's range of skin types; a range is not a type and is never written into fst"
    )
    monk: Int8 | None = Field(None, ge=1, le=10, description="Monk skin tone 1-10, from a person")
    monk_second: Int8 | None = Field(None, ge=1, le=10, description="a second person's Monk skin tone")


class PixelRow(Row):
    """The normalised pixels of one catalog row: square, sRGB, 8 bits, PNG."""

    image_id: str
    image: Image
    mask: Image | None = Field(description="lesion mask at the same size, PNG mode L, 0 or 255")


class QuarantineRow(Row):
    """One source row or file that did not enter. Rows in = catalog + quarantine."""

    source: str
    source_row_id: str
    code: str = Field(description="short stable reason, e.g. image_missing")
    message: str
    raw: str = Field(description="the source row as JSON")


class CopyRow(Row):
    """One row that stayed out because its very pixels had entered with an earlier row.

    Whom it names is still on that picture, what it says of the lesion still counts, and its licence still holds.
    """

    image_id: str = Field(description="of the catalog row with the same pixels")
    source: str
    source_row_id: str = Field(description="the publisher's own key for the row")
    patient_id: str | None = Field(description="salted hash; null where the publisher names none")
    lesion_id: str | None = Field(description="salted hash; null where the publisher names none")
    lesion: Lesion
    licence_allows: list[str] = Field(description="subset of commercial, share, derive")
