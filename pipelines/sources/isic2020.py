"""SIIM-ISIC 2020: dermoscopic images with patients; 584 melanomas, and 27,124 benign images without a diagnosis.

Rotemberg et al., Scientific Data 8 (2021) 34. `unknown` names no diagnosis, so those rows stay out as `label_unknown`.
The publisher lists 425 pairs that show the same picture: the second of each stays out as `duplicate_listed`
(docs/decisions/0006-labels-are-never-guessed.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, Fault, SourceReader
from pipelines.sources.naming import endings
from pipelines.sources.table import RawTable, read_csv
from pipelines.sources.tabular import Layout, TabularReader
from schemas.paths import Workspace
from schemas.source_params import Isic2020Source
from schemas.words import Modality

COLUMNS = (
    "image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge", "diagnosis", "benign_malignant",
)  # fmt: skip
TABLES = ("ISIC_2020_Training_GroundTruth_v2.csv", "ISIC_2020_Training_GroundTruth.csv", "train.csv")
PAIR = ("image_name_1", "image_name_2")


def open_reader(name: str, source: Isic2020Source, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, tables, columns or images are missing."""
    return TabularReader(name, LAYOUT, source, workspace)


def _read(folder: SourceFolder) -> RawTable:
    table = read_csv(folder.table(TABLES), COLUMNS, folder.source)
    listed = folder.table(["ISIC_2020_Training_Duplicates.csv"])
    return _without_second_of(table, read_csv(listed, PAIR, folder.source)) if listed.is_file() else table


def _without_second_of(table: RawTable, pairs: RawTable) -> RawTable:
    """Return the table with the second image of each listed pair marked, if the first is in the table too."""
    there = {row.values.get("image_name", "").strip() for row in table.rows if row.fault is None}
    first = {
        row.values[PAIR[1]].strip(): row.values[PAIR[0]].strip()
        for row in pairs.rows
        if row.fault is None and row.values[PAIR[0]].strip() in there
    }
    rows = []
    for row in table.rows:
        image = row.values.get("image_name", "").strip()
        # Neither a pair of one image with itself nor a circle of pairs may remove every copy.
        if row.fault is None and image in first and first[image] not in first:
            why = f"{pairs.name} says it shows the same picture as {first[image]}; each enters once; nothing to do"
            row = replace(row, fault=Fault("duplicate_listed", why))
        rows.append(row)
    return replace(table, rows=rows, files={**table.files, **pairs.files})


def _interpret(row: Mapping[str, str]) -> Facts:
    verdict = (wording.said(row["benign_malignant"]) or "").lower()
    if verdict not in ("benign", "malignant", ""):
        raise wording.invalid("benign_malignant", row["benign_malignant"], "benign or malignant")
    return Facts(
        label=row["diagnosis"].strip(),
        patient=wording.said(row["patient_id"]),
        lesion=wording.said(row.get("lesion_id", "")),
        site=wording.site(row["anatom_site_general_challenge"]),
        age_band=wording.age_band(row["age_approx"], "age_approx"),
        sex=wording.sex(row["sex"], "sex"),
        malignant=verdict == "malignant" if verdict else None,
    )


LAYOUT = Layout(
    dataset="isic2020",
    modality=Modality.DERMOSCOPIC,
    read=_read,
    row_id="image_name",
    label="diagnosis",
    image_folders=("images", "train", "jpeg", "ISIC_2020_Training_JPEG"),
    image_names=endings,
    interpret=_interpret,
    id_space="isic",
)
