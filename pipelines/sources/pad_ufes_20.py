"""PAD-UFES-20: clinical smartphone photographs, six diagnoses, Fitzpatrick types from dermatologists.

Pacheco et al., Data in Brief 32 (2020) 106221. `metadata.csv` beside `images/` (or the publisher's `imgs_part_*/`), and
third parties' lesion masks in `masks/` where present. 804 of its rows name no skin type: theirs is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, SourceReader
from pipelines.sources.table import RawTable, read_csv
from pipelines.sources.tabular import Layout, TabularReader
from schemas.paths import Workspace
from schemas.source_params import PadUfes20Source
from schemas.words import FstSource, Modality


def open_reader(name: str, source: PadUfes20Source, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, table, columns or images are missing."""
    return TabularReader(name, LAYOUT, source, workspace)


def _read(folder: SourceFolder) -> RawTable:
    columns = ("patient_id", "lesion_id", "age", "gender", "fitspatrick", "region", "diagnostic", "img_id")
    return read_csv(folder.table(["metadata.csv"]), columns, folder.source)


def _interpret(row: Mapping[str, str]) -> Facts:
    # The publisher's own spelling of the column.
    fst = wording.fst(row["fitspatrick"], "fitspatrick")
    return Facts(
        label=row["diagnostic"].strip(),
        patient=wording.said(row["patient_id"]),
        lesion=wording.said(row["lesion_id"]),
        fst=fst,
        fst_source=FstSource.EXPERT if fst else None,
        site=wording.site(row["region"]),
        age_band=wording.age_band(row["age"], "age"),
        sex=wording.sex(row["gender"], "gender"),
    )


def _mask_names(row_id: str) -> tuple[str, ...]:
    return (f"{PurePosixPath(row_id).stem}_mask.png",)


LAYOUT = Layout(
    dataset="pad_ufes_20",
    modality=Modality.CLINICAL,
    read=_read,
    row_id="img_id",
    label="diagnostic",
    image_folders=("images", "imgs_part_*"),
    image_names=lambda row_id: (row_id,),
    interpret=_interpret,
    mask_folders=("masks",),
    mask_names=_mask_names,
)
