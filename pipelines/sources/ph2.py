"""PH2: 200 dermoscopic images of pigmented lesions with masks, three diagnoses.

Mendonca et al., IEEE EMBC (2013). `PH2_dataset.txt` (a table drawn with bars) beside `PH2 Dataset images/`, a folder a
case: `IMD002/IMD002_Dermoscopic_Image/IMD002.bmp` and `IMD002/IMD002_lesion/IMD002_lesion.bmp`. The other files there
mark parts of the lesion and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, Fault, SourceReader
from pipelines.sources.table import RawRow, RawTable, check_header, require_table
from pipelines.sources.tabular import Layout, TabularReader
from pipelines.sources.text import BoundedText
from schemas.errors import SourceError
from schemas.paths import Workspace
from schemas.source_params import Ph2Source
from schemas.words import Modality

DIAGNOSES = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}
"""The legend under the publisher's table."""

COLUMNS = ("Name", "Histological Diagnosis", "Clinical Diagnosis")


def open_reader(name: str, source: Ph2Source, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, table, columns or images are missing."""
    return TabularReader(name, LAYOUT, source, workspace)


def _read(folder: SourceFolder) -> RawTable:
    path = folder.table(["PH2_dataset.txt"])
    require_table(path, folder.source)
    where = f"sources.use.{folder.source}: {path.name}"
    text = BoundedText(path, where)
    header: list[str] = []
    rows = []
    for number, line in enumerate(text, start=1):
        if not line.lstrip().startswith("||"):  # rules, blank lines and the legend
            continue
        cells = [cell.strip() for cell in re.split(r"\|+", line.strip().removeprefix("||").removesuffix("||"))]
        if not header:
            header = cells
            check_header(header, COLUMNS, where)
        else:
            rows.append(_row(f"line {number}", header, cells))
    if not rows:
        raise SourceError(f"{where} has {len(rows)} rows between bars; needs 1 or more; fetch the table again")
    return RawTable(path.name, rows, header, {path.name: text.identity})


def _row(place: str, header: list[str], cells: list[str]) -> RawRow:
    values = dict(zip(header, cells, strict=False))
    values |= {f"cell {n + 1}": cells[n] for n in range(len(header), len(cells))}
    why = None
    if len(cells) != len(header):
        why = f"{place} has {len(cells)} cells, the header {len(header)}; correct the line"
    elif any("\0" in cell for cell in cells):
        why = f"{place} holds a NUL byte; needs text; correct the line"
    return RawRow(place, values, Fault("row_malformed", why) if why else None)


def _interpret(row: Mapping[str, str]) -> Facts:
    code = row["Clinical Diagnosis"].strip()
    if code not in DIAGNOSES:
        raise wording.invalid("Clinical Diagnosis", code, "0, 1 or 2")
    return Facts(label=DIAGNOSES[code])


LAYOUT = Layout(
    dataset="ph2",
    modality=Modality.DERMOSCOPIC,
    read=_read,
    row_id="Name",
    label="Clinical Diagnosis",
    image_folders=("PH2 Dataset images", "IMD*"),
    image_names=lambda row_id: (f"{row_id}.bmp", f"{row_id}.png"),
    interpret=_interpret,
    mask_folders=("PH2 Dataset images", "IMD*"),
    mask_names=lambda row_id: (f"{row_id}_lesion.bmp", f"{row_id}_lesion.png"),
    is_image=lambda path: fnmatchcase(path, "*_Dermoscopic_Image/*"),
    is_mask=lambda path: fnmatchcase(path, "*_lesion/*"),
)
