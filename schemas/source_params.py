"""Parameters of each kind of source; `adapter` says which module under pipelines/sources reads it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.section import Section, Share
from schemas.words import Lesion


class PhantomSource(Section):
    """The embedded default: phantoms drawn by the project itself, with exact truth."""

    adapter: Literal["phantom"] = "phantom"
    count: int = Field(1200, ge=1, le=1_000_000, description="images to draw")
    seed: int = Field(7, ge=0)
    resolution: int = Field(64, ge=32, le=512, description="px")
    fst_shares: tuple[Share, Share, Share, Share, Share, Share] = Field(
        (0.22, 0.36, 0.28, 0.07, 0.045, 0.025), description="FST I-VI; IV-VI under 15% like the public sets"
    )
    lesion_shares: dict[Lesion, Share] = Field(
        default={
            Lesion.NEVUS: 0.46,
            Lesion.MELANOMA: 0.14,
            Lesion.BASAL_CELL_CARCINOMA: 0.22,
            Lesion.SEBORRHOEIC_KERATOSIS: 0.18,
        }
    )

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> PhantomSource:
        for name, total in (("fst_shares", sum(self.fst_shares)), ("lesion_shares", sum(self.lesion_shares.values()))):
            if abs(total - 1) > 1e-6:
                raise ValueError(f"{name} sum to {total:g}; they need to sum to 1")
        return self


class PadUfes20Source(Section):
    """PAD-UFES-20 in its publisher's layout: metadata.csv, images/, and masks/ where present."""

    adapter: Literal["pad_ufes_20"]
    path: str = Field(description="folder, relative to the workspace")


class Ham10000Source(Section):
    """HAM10000 in its publisher's layout: HAM10000_metadata.csv and images/."""

    adapter: Literal["ham10000"]
    path: str = Field(description="folder, relative to the workspace")


Source = Annotated[PhantomSource | PadUfes20Source | Ham10000Source, Field(discriminator="adapter")]
