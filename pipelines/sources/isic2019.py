"""ISIC 2019: dermoscopic images of HAM10000, BCN20000 and MSK, eight diagnoses and `UNK`, one-hot.

Tschandl et al. 2018, Codella et al. 2017, Combalia et al. 2019. Ground truth and metadata are two tables, joined here;
images lie in `ISIC_2019_Training_Input/`. Its lesion ids are the archive's, so those of HAM10000 are the same lesions.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, SourceReader
from pipelines.sources.naming import endings
from pipelines.sources.table import RawTable, join, read_csv
from pipelines.sources.tabular import Layout, TabularReader
from schemas.paths import Workspace
from schemas.source_params import Isic2019Source
from schemas.words import Modality

CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
METADATA = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")


def open_reader(name: str, source: Isic2019Source, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, tables, columns or images are missing."""
    return TabularReader(name, LAYOUT, source, workspace)


def _read(folder: SourceFolder) -> RawTable:
    truth = read_csv(folder.table(["ISIC_2019_Training_GroundTruth.csv"]), ("image", *CLASSES), folder.source)
    metadata = read_csv(folder.table(["ISIC_2019_Training_Metadata.csv"]), METADATA, folder.source)
    return join(truth, metadata, "image")


def _interpret(row: Mapping[str, str]) -> Facts:
    return Facts(
        label=wording.one_hot(row, CLASSES),
        lesion=wording.said(row["lesion_id"]),
        site=wording.site(row["anatom_site_general"]),
        age_band=wording.age_band(row["age_approx"], "age_approx"),
        sex=wording.sex(row["sex"], "sex"),
    )


LAYOUT = Layout(
    dataset="isic2019",
    modality=Modality.DERMOSCOPIC,
    read=_read,
    row_id="image",
    label="class",
    image_folders=("images", "ISIC_2019_Training_Input"),
    image_names=endings,
    interpret=_interpret,
    id_space="isic",
)
