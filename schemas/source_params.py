"""Parameters of each kind of source; `adapter` says which module under pipelines/sources reads it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, model_validator

from schemas.licences import DATASETS, Dataset
from schemas.location_params import Location
from schemas.section import KnownLicence, Section, Share
from schemas.words import FstSource, Lesion


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


class FolderSource(Location):
    """What every source in a folder has in common."""

    adapter: str
    images: Literal["needed", "none"] = Field(
        "needed", description="none: the tables alone; their rows are checked, counted and kept out as image_missing"
    )
    links: Literal["inside", "anywhere"] = Field(
        "inside", description="where symbolic links may lead; anywhere: out of the source's folder too, as DVC's do"
    )


class PadUfes20Source(FolderSource):
    """PAD-UFES-20 in its publisher's layout: metadata.csv, images/, and masks/ where present."""

    adapter: Literal["pad_ufes_20"]


class Ham10000Source(FolderSource):
    """HAM10000 in its publisher's layout: HAM10000_metadata.csv and images/."""

    adapter: Literal["ham10000"]


class Isic2018Source(FolderSource):
    """ISIC 2018 task 3: any of its three ground truths and their image folders."""

    adapter: Literal["isic2018_task3"]


class Isic2019Source(FolderSource):
    """ISIC 2019: one-hot ground truth, metadata, ISIC_2019_Training_Input/."""

    adapter: Literal["isic2019"]


class Isic2020Source(FolderSource):
    """ISIC 2020: ground truth, the published list of duplicates where present, train/."""

    adapter: Literal["isic2020"]


class Fitzpatrick17kSource(FolderSource):
    """Fitzpatrick17k: fitzpatrick17k.csv, and the pictures fetched from its URLs in images/, named by md5hash."""

    adapter: Literal["fitzpatrick17k"]


class DdiSource(FolderSource):
    """DDI: ddi_metadata.csv and the pictures beside it or in images/."""

    adapter: Literal["ddi"]


class ScinSource(FolderSource):
    """SCIN: scin_cases.csv, scin_labels.csv and images/ under dataset/ or in the folder itself."""

    adapter: Literal["scin"]


class Ph2Source(FolderSource):
    """PH2: PH2_dataset.txt and `PH2 Dataset images/`, a folder a case."""

    adapter: Literal["ph2"]


class GenericColumns(Section):
    """Which column of your table says what. Columns not named are kept in the quarantine's raw row only."""

    id: str | None = Field(None, description="names the row; the image's column where not given")
    image: str = Field(description="file name or path below the source's folder; the ending may be left out")
    label: str = Field(description="diagnosis, a key of `labels`")
    patient: str | None = None
    lesion: str | None = None
    fst: str | None = Field(None, description="1 to 6 or empty")
    site: str | None = None
    age: str | None = Field(None, description="years")
    sex: str | None = Field(None, description="female, male or empty")


class GenericSource(FolderSource):
    """Your own data: a folder a class, or any CSV or Parquet with its columns named here."""

    adapter: Literal["generic"]
    title: str | None = Field(None, description="as it is called in a datasheet; the source's name where not given")
    licence: KnownLicence = Field(description="a key of LICENCES in schemas/licences.py; without one nothing enters")
    citation: str = Field(min_length=1, description="whose it is and how to name them")
    modality: Literal["clinical", "dermoscopic"]
    labels: dict[str, Lesion | None] = Field(
        min_length=1, description="your label: canonical lesion; null keeps its rows out as label_unknown"
    )
    table: str | None = Field(None, description=".csv or .parquet in the folder; none: a folder a class")
    columns: GenericColumns | None = Field(None, description="needed with a table")
    fst_source: FstSource | None = Field(None, description="who said the types; needed with columns.fst")
    image_folders: tuple[str, ...] = Field(
        ("*",), min_length=1, description="folders with images; * and ? as in a shell"
    )

    @model_validator(mode="before")
    @classmethod
    def _table_beside_columns(cls, data: Any) -> Any:
        if isinstance(data, dict) and bool(data.get("table")) != bool(data.get("columns")):
            got, need = ("table", "columns") if data.get("table") else ("columns", "table")
            raise ValueError(f"{got} is given without {need}; it needs both, or neither for a folder a class")
        return data

    @model_validator(mode="after")
    def _types_have_a_source(self) -> GenericSource:
        if self.columns and self.columns.fst and self.fst_source is None:
            raise ValueError("columns.fst is given without fst_source; it needs expert, self or crowd")
        return self


Source = Annotated[
    PhantomSource
    | PadUfes20Source
    | Ham10000Source
    | Isic2018Source
    | Isic2019Source
    | Isic2020Source
    | Fitzpatrick17kSource
    | DdiSource
    | ScinSource
    | Ph2Source
    | GenericSource,
    Field(discriminator="adapter"),
]


ADAPTERS: Final = tuple(kind.model_fields["adapter"].annotation.__args__[0] for kind in get_args(get_args(Source)[0]))
"""Their names, in the order above."""


def dataset_of(name: str, source: FolderSource | PhantomSource) -> Dataset:
    """Return whose data a source is: the published dataset its adapter reads, or what its own parameters declare."""
    if isinstance(source, GenericSource):
        title = source.title or name
        return Dataset(id=source.adapter, title=title, licence=source.licence, citation=source.citation, url="")
    return DATASETS[source.adapter]
