"""DDI: clinical photographs with biopsies behind them, 78 diagnoses, skin tone as a range of two types.

Daneshjou et al., Science Advances 8 (2022) eabq6147. `ddi_metadata.csv` beside its pictures (or above `images/`). Its
tones 12, 34 and 56 are ranges, so they go into `tone_group` and `fst` stays null. Its terms forbid passing copies on.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, SourceReader
from pipelines.sources.table import RawTable, read_csv
from pipelines.sources.tabular import Layout, TabularReader
from schemas.paths import Workspace
from schemas.source_params import DdiSource
from schemas.words import Modality


def open_reader(name: str, source: DdiSource, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, table, columns or images are missing."""
    return TabularReader(name, LAYOUT, source, workspace)


def _read(folder: SourceFolder) -> RawTable:
    columns = ("DDI_ID", "DDI_file", "skin_tone", "malignant", "disease")
    return read_csv(folder.table(["ddi_metadata.csv"]), columns, folder.source)


def _interpret(row: Mapping[str, str]) -> Facts:
    return Facts(
        label=row["disease"].strip(),
        malignant=wording.truth(row["malignant"], "malignant"),
        tone_group=wording.tone_group(row["skin_tone"], "skin_tone"),
    )


def _is_picture(path: str) -> bool:
    return path.lower().endswith((".png", ".jpg", ".jpeg"))


LAYOUT = Layout(
    dataset="ddi",
    modality=Modality.CLINICAL,
    read=_read,
    row_id="DDI_file",
    label="disease",
    image_folders=(".", "images"),
    image_names=lambda row_id: (row_id,),
    interpret=_interpret,
    is_image=_is_picture,
)
