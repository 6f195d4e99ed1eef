"""Fitzpatrick17k: clinical photographs from two atlases, 114 labels, two readings of the skin type.

Groh et al., CVPR Workshops (2021). `fitzpatrick17k.csv` names pictures by md5hash and URL; they lie in `images/` as
`<md5hash>.jpg`. Both readings are crowds': `fitzpatrick_scale` is `fst`, `fitzpatrick_centaur` is `fst_second`, -1 is
unknown in both, and neither stands in for the other. Rows whose `qc` says "3 Wrongly labelled" stay out.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, Refused, SourceReader
from pipelines.sources.naming import endings
from pipelines.sources.table import RawTable, read_csv
from pipelines.sources.tabular import Layout, TabularReader
from schemas.paths import Workspace
from schemas.source_params import Fitzpatrick17kSource
from schemas.words import FstSource, Modality

COLUMNS = ("md5hash", "fitzpatrick_scale", "fitzpatrick_centaur", "label", "three_partition_label", "qc", "url")


def open_reader(name: str, source: Fitzpatrick17kSource, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, table, columns or images are missing."""
    return TabularReader(name, LAYOUT, source, workspace)


def _read(folder: SourceFolder) -> RawTable:
    return read_csv(folder.table(["fitzpatrick17k.csv"]), COLUMNS, folder.source)


def _interpret(row: Mapping[str, str]) -> Facts:
    if row["qc"].strip().startswith("3"):
        raise Refused("label_disputed", f"qc is {row['qc'].strip()!r}; needs a label its publisher stands by; skip it")
    first, second = _type(row, "fitzpatrick_scale"), _type(row, "fitzpatrick_centaur")
    return Facts(
        label=row["label"].strip(),
        fst=first,
        fst_source=FstSource.CROWD if first else None,
        fst_second=second,
        fst_second_source=FstSource.CROWD if second else None,
    )


def _type(row: Mapping[str, str], column: str) -> int | None:
    return None if row[column].strip() in ("-1", "-1.0") else wording.fst(row[column], column)


LAYOUT = Layout(
    dataset="fitzpatrick17k",
    modality=Modality.CLINICAL,
    read=_read,
    row_id="md5hash",
    label="label",
    image_folders=("images", "finalfitz17k"),
    image_names=endings,
    interpret=_interpret,
)
