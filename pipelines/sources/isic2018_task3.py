"""ISIC 2018 task 3: dermoscopic images, seven diagnoses, one-hot. HAM10000 is its training set; test and validation are not.

Codella et al., arXiv:1902.03368 (2019). Any of `ISIC2018_Task3_{Training,Validation,Test}_GroundTruth.csv`, beside
`ISIC2018_Task3_*_Input/`. The publisher's own split is not kept: `stratify` makes one over all sources.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, SourceReader
from pipelines.sources.naming import endings
from pipelines.sources.table import RawTable, concat, read_csv
from pipelines.sources.tabular import Layout, TabularReader
from schemas.paths import Workspace
from schemas.source_params import Isic2018Source
from schemas.words import Modality

CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def open_reader(name: str, source: Isic2018Source, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, tables, columns or images are missing."""
    return TabularReader(name, LAYOUT, source, workspace)


def _read(folder: SourceFolder) -> RawTable:
    parts = [f"ISIC2018_Task3_{part}_GroundTruth.csv" for part in ("Training", "Validation", "Test")]
    paths = [folder.table([part]) for part in parts]
    # With none of them there, reading the last says what is missing.
    there = [path for path in paths if path.is_file()] or paths[-1:]
    return concat([read_csv(path, ("image", *CLASSES), folder.source) for path in there])


def _interpret(row: Mapping[str, str]) -> Facts:
    return Facts(label=wording.one_hot(row, CLASSES))


LAYOUT = Layout(
    dataset="isic2018_task3",
    modality=Modality.DERMOSCOPIC,
    read=_read,
    row_id="image",
    label="class",
    image_folders=("images", "ISIC2018_Task3_*_Input"),
    image_names=endings,
    interpret=_interpret,
    id_space="isic",
)
