"""HAM10000: dermoscopic images of pigmented lesions, seven diagnoses, no skin types and no patients named.

Tschandl, Rosendahl & Kittler, Scientific Data 5 (2018) 180161. `HAM10000_metadata.csv` beside `images/` (or the
publisher's `HAM10000_images_part_*/`), and the segmentations where present. Several images may show one lesion.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, SourceReader
from pipelines.sources.naming import endings
from pipelines.sources.table import RawTable, read_csv
from pipelines.sources.tabular import Layout, TabularReader
from schemas.paths import Workspace
from schemas.source_params import Ham10000Source
from schemas.words import Modality


def open_reader(name: str, source: Ham10000Source, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, table, columns or images are missing."""
    return TabularReader(name, LAYOUT, source, workspace)


def _interpret(row: Mapping[str, str]) -> Facts:
    return Facts(
        label=row["dx"].strip(),
        lesion=wording.said(row["lesion_id"]),
        site=wording.site(row["localization"]),
        age_band=wording.age_band(row["age"], "age"),
        sex=wording.sex(row["sex"], "sex"),
    )


def _read(folder: SourceFolder) -> RawTable:
    columns = ("lesion_id", "image_id", "dx", "age", "sex", "localization")
    return read_csv(folder.table(["HAM10000_metadata.csv"]), columns, folder.source)


LAYOUT = Layout(
    dataset="ham10000",
    modality=Modality.DERMOSCOPIC,
    read=_read,
    row_id="image_id",
    label="dx",
    image_folders=("images", "HAM10000_images_part_*"),
    image_names=endings,
    interpret=_interpret,
    mask_folders=("masks", "HAM10000_segmentations_lesion_tschandl"),
    mask_names=lambda row_id: (f"{row_id}_segmentation.png", f"{row_id}_mask.png"),
    id_space="isic",
)
