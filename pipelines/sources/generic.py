"""Your own data: a folder a class, or any CSV or Parquet whose columns are named in params.yaml.

Labels are mapped one by one in params.yaml, licence and citation are given there, and nothing enters without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, SourceReader
from pipelines.sources.naming import endings, is_plain_path
from pipelines.sources.parquet import read_parquet
from pipelines.sources.table import RawRow, RawTable, read_csv
from pipelines.sources.tabular import Layout, TabularReader
from schemas.paths import Workspace
from schemas.source_params import GenericColumns, GenericSource
from schemas.words import Modality

OF_FOLDER = GenericColumns(image="file", label="folder")
"""Columns of the table that a folder a class amounts to."""


def open_reader(name: str, source: GenericSource, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, table, columns or images are missing."""
    columns = source.columns or OF_FOLDER
    layout = Layout(
        dataset="generic",
        modality=Modality(source.modality),
        read=partial(_read_table, source, columns) if source.table else partial(_read_folders, source),
        row_id=columns.id or columns.image,
        label=columns.label,
        image=columns.image,
        image_folders=source.image_folders,
        image_names=partial(_image_names, source.image_folders),
        interpret=partial(_interpret, source, columns),
        # With the images beside the table, the table is no image.
        is_image=lambda path: path != source.table,
        by_path=True,
        id_space=f"generic/{name}",
    )
    return TabularReader(name, layout, source, workspace)


def _read_table(source: GenericSource, columns: GenericColumns, folder: SourceFolder) -> RawTable:
    named = [column for column in columns.model_dump().values() if column]
    path = folder.table([source.table or ""])
    read = read_parquet if Path(path).suffix == ".parquet" else read_csv
    return read(path, list(dict.fromkeys(named)), folder.source)


def _read_folders(source: GenericSource, folder: SourceFolder) -> RawTable:
    """Return a row a file: its path, and the folder it lies in as its label.

    A file whose path cannot be written in a table (control characters, blanks at its ends, bytes that are no text) is
    no row; it is counted as a file without one.
    """
    index = folder.scan(source.image_folders, by_path=True)
    if not index.files:
        raise folder.error(
            f"no file in the folders of {folder.said}, it holds {', '.join(folder.present()) or 'nothing'}; "
            "needs a folder a class with images; put them there, or name a table"
        )
    files = [path for path in sorted(index.files) if is_plain_path(path) and path == path.strip() == _printable(path)]
    rows = [RawRow(path, {"file": path, "folder": path.split("/")[-2] if "/" in path else ""}) for path in files]
    return RawTable("the folders", rows, ["file", "folder"])


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()


def _image_names(folders: Sequence[str], cell: str) -> tuple[str, ...]:
    """Return the paths an image may have: as the table says it, or within one of the image folders."""
    plain = [folder for folder in folders if not set(folder) & set("*?[") and folder != "."]
    places = [cell, *(f"{folder}/{cell}" for folder in plain)]
    return tuple(name for place in places for name in (place, *endings(place)))


def _interpret(source: GenericSource, columns: GenericColumns, row: Mapping[str, str]) -> Facts:
    def cell(column: str | None) -> str:
        return row[column] if column else ""

    fst = wording.fst(cell(columns.fst), columns.fst or "")
    return Facts(
        label=cell(columns.label).strip(),
        patient=wording.said(cell(columns.patient)),
        lesion=wording.said(cell(columns.lesion)),
        fst=fst,
        fst_source=source.fst_source if fst else None,
        site=wording.site(cell(columns.site)),
        age_band=wording.age_band(cell(columns.age), columns.age or ""),
        sex=wording.sex(cell(columns.sex), columns.sex or ""),
    )
