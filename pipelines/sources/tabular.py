"""The reader shared by datasets published as tables, image folders and perhaps mask folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pipelines.sources.folder import FolderIndex, SourceFolder
from pipelines.sources.interface import Facts, Fault, Refused, SourceRow
from pipelines.sources.labels import Labels
from pipelines.sources.naming import is_plain_name, is_plain_path
from pipelines.sources.picture import FilePicture
from pipelines.sources.table import RawRow, RawTable
from schemas.catalog import LABEL_CONFLICT
from schemas.licences import Licence, licence_of
from schemas.paths import Workspace
from schemas.source_params import FolderSource, dataset_of
from schemas.words import Modality

NAMED: Final = 5
"""Diagnoses of one id that a message names."""


@dataclass(frozen=True)
class Layout:
    """How a publisher lays a dataset out. Folder names are patterns, matched in the dataset's own folder."""

    dataset: str
    modality: Modality
    read: Callable[[SourceFolder], RawTable]
    """The rows, from one table or several; raises SourceError if one is missing."""
    row_id: str
    """Column that names the row."""
    label: str
    """What the diagnosis is called in messages: its column, where there is one."""
    image_folders: Sequence[str]
    image_names: Callable[[str], Sequence[str]]
    """File names an image may have, given the image's column, best first."""
    interpret: Callable[[Mapping[str, str]], Facts]
    """The row's facts; raises Refused for a value outside the vocabulary."""
    image: str = ""
    """Column that names the image file; the row's own where empty."""
    mask_folders: Sequence[str] = ()
    mask_names: Callable[[str], Sequence[str]] | None = None
    is_image: Callable[[str], bool] | None = None
    """Whether a file in the image folders is an image, by its path in the source; None: all are."""
    is_mask: Callable[[str], bool] | None = None
    by_path: bool = False
    """Whether images are named by path below the source's folder, not by file name."""
    id_space: str = ""
    """Where patient and lesion ids mean the same; the dataset's own where empty."""


class TabularReader:
    """A SourceReader over a Layout: one pass over the tables and one listing of the folders when it is opened."""

    def __init__(self, name: str, layout: Layout, source: FolderSource, workspace: Workspace) -> None:
        """Open the source.

        Raises:
            SourceError: the folder, its table, a column or the image folder is missing, or the table has no rows.
        """
        self.name = name
        self.dataset = layout.dataset
        self.id_space = layout.id_space or layout.dataset
        self.modality = layout.modality
        self._layout = layout
        self._source = source
        self._terms = dataset_of(name, source)
        folder = SourceFolder(workspace.path(source.path), source.path, name, source.links == "anywhere")
        folder.check()
        self._labels = Labels(source, name, layout.label)
        self._table = layout.read(folder)
        self._images, self._masks = _list_images(folder, layout, source.images == "needed")
        self._shadowed = frozenset(self._images.shadowed)
        self._repeats = self._find_repeats()
        self._strays = self._find_strays()

    @property
    def licence(self) -> Licence:
        """The dataset's licence."""
        return licence_of(self._terms.licence)

    @property
    def table_rows(self) -> int:
        """Rows of the publisher's table."""
        return len(self._table.rows)

    def __len__(self) -> int:
        """Return table rows plus files without a row."""
        return len(self._table.rows) + len(self._strays)

    def rows(self, start: int, stop: int) -> Iterator[SourceRow]:
        """Yield rows start..stop: the table's, then one for every file that no row names."""
        for position in range(start, min(stop, len(self))):
            if position < len(self._table.rows):
                yield self._row(position, self._table.rows[position])
            else:
                yield self._stray(self._strays[position - len(self._table.rows)])

    def fingerprint(self) -> dict[str, Any]:
        """Return what decides the result: tables, files, labels, licence, layout."""
        labels, skin_types = self._census()
        return {
            "adapter": self.dataset,
            "modality": str(self.modality),
            "licence": self.licence.id,
            "citation": self._terms.citation,
            "params": self._source.model_dump(mode="json", exclude={"adapter"}),
            "rows": self.table_rows,
            "files_without_row": len(self._strays),
            "labels": dict(sorted(labels.items())),
            "tables": dict(self._table.files),
            "columns": list(self._table.rows[0].values),
            "fst": dict(sorted(skin_types.items())),
            "images": self._images.fingerprint(),
            "masks": self._masks.fingerprint(),
        }

    def _census(self) -> tuple[Counter[str], Counter[str]]:
        """Return rows by label, empty where it cannot be read, and by what the publisher says of skin.

        The latter is 1-6, unknown or invalid, also of rows without an image.
        """
        labels: Counter[str] = Counter()
        skin_types: Counter[str] = Counter()
        for row in self._table.rows:
            try:
                facts = self._layout.interpret(row.values)
                label, skin_type = facts.label, str(facts.fst or "unknown")
            except (Refused, KeyError):
                label, skin_type = row.values.get(self._layout.label, "").strip(), "invalid"
            labels["" if row.fault else label] += 1
            skin_types[skin_type] += 1
        return labels, skin_types

    def _row(self, position: int, row: RawRow) -> SourceRow:
        row_id = row.values.get(self._layout.row_id, "").strip()
        named = row_id or row.place
        try:
            self._check_identity(position, row, row_id)
            facts = self._layout.interpret(row.values)
            diagnosis = self._labels.diagnose(facts)
            return SourceRow(named, row.values, facts, diagnosis, self._picture(row))
        except Refused as refused:
            return SourceRow(named, row.values, fault=Fault(refused.code, refused.message))

    def _check_identity(self, position: int, row: RawRow, row_id: str) -> None:
        column, image = self._layout.row_id, self._layout.image or self._layout.row_id
        if row.fault:
            raise Refused(row.fault.code, row.fault.message)
        if not row_id:
            raise Refused("id_missing", f"{row.place} has no {column}; needs one; correct the line")
        self._check_name(image, row.values.get(image, "").strip())
        repeat = self._repeats.get(position)
        if repeat:
            raise Refused(repeat.code, f"{column} {row_id} {repeat.message}")

    def _check_name(self, column: str, name: str) -> None:
        if self._layout.by_path and not is_plain_path(name):
            raise Refused(
                "unsafe_name", f"{column} {name!r} leads out of the source's folder; needs a path below it; fix it"
            )
        if not self._layout.by_path and not is_plain_name(name):
            raise Refused(
                "unsafe_name", f"{column} {name!r} is not a plain file name; needs one without a path; fix it"
            )

    def _picture(self, row: RawRow) -> FilePicture:
        cell = row.values.get(self._layout.image or self._layout.row_id, "").strip()
        if self._source.images == "none":
            raise Refused("image_missing", "only the tables were read; needs the images; remove `images: none`")
        if not cell:
            raise Refused("image_missing", f"{row.place} names no image; needs one; correct the line")
        names = self._layout.image_names(cell)
        path = self._images.find(names)
        if path is None:
            hint = self._differs_in_case(names)
            found = f"; {hint} differs in upper and lower case only; rename it" if hint else "; put the file there"
            raise Refused("image_missing", f"no image file {' or '.join(names[:2])} in the source{found}")
        mask = self._masks.find(self._layout.mask_names(cell)) if self._layout.mask_names else None
        for file, index in ((path, self._images), (mask, self._masks)):
            if file in index.outside:
                raise Refused(
                    "link_outside",
                    f"{index.relative(file)} is a link out of the source's folder; needs a file within it; "
                    "copy it there, or set links: anywhere",
                )
        return FilePicture(path, mask)

    def _differs_in_case(self, names: Sequence[str]) -> str | None:
        wanted = {name.lower() for name in names}
        return next((stray.name for stray in self._strays if stray.name.lower() in wanted), None)

    def _stray(self, path: Path) -> SourceRow:
        name = self._images.relative(path)
        if path in self._shadowed:
            why = f"{name} has the name of a file in another folder; needs unique names; remove one"
        else:
            why = f"no row of {self._table.name} names {name}; needs a row; rename the file or add its row"
        return SourceRow(name, {"file": name}, fault=Fault("file_without_row", why))

    def _find_repeats(self) -> dict[int, Fault]:
        """Return what is wrong with every row whose id came before, and with all rows of an id that has two diagnoses.

        Which of those is right cannot be told from their order.
        """
        first: dict[str, int] = {}
        again: dict[str, list[int]] = {}
        for position, row in enumerate(self._table.rows):
            row_id = row.values.get(self._layout.row_id, "").strip()
            if row_id and first.setdefault(row_id, position) != position:
                again.setdefault(row_id, [first[row_id]]).append(position)
        return {position: fault for positions in again.values() for position, fault in self._repeated(positions)}

    def _repeated(self, positions: Sequence[int]) -> Iterator[tuple[int, Fault]]:
        """Yield the faults of the rows of one id, given in their order."""
        rows = [self._table.rows[position] for position in positions]
        said: dict[str, str] = {}
        for row in rows:
            if name := self._said(row):
                said.setdefault(name, row.place)
        if len(said) > 1:
            named = " and ".join(f"{place} ({name})" for name, place in islice(said.items(), NAMED))
            why = f"is on {named}; one picture needs one diagnosis; correct or drop the wrong rows"
            yield from ((position, Fault(LABEL_CONFLICT, why)) for position in positions)
        else:
            why = f"is on {rows[0].place} already; needs to be unique; drop one row"
            yield from ((position, Fault("duplicate_id", why)) for position in positions[1:])

    def _said(self, row: RawRow) -> str | None:
        """Return the lesion that a row names, or its label if that is not mapped; None if it names or tells none."""
        if row.fault:
            return None
        try:
            facts = self._layout.interpret(row.values)
        except (Refused, KeyError):
            return None
        try:  # whether the label contradicts its own row is asked when the row is read
            return str(self._labels.diagnose(replace(facts, malignant=None)).lesion)
        except Refused as refused:
            return None if refused.code == "label_unknown" else facts.label

    def _find_strays(self) -> list[Path]:
        column = self._layout.image or self._layout.row_id
        claimed = set()
        if self._images.files:
            cells = (row.values.get(column, "").strip() for row in self._table.rows)
            claimed = {self._images.find(self._layout.image_names(cell)) for cell in cells if cell}
        unnamed = [path for path in self._images.files.values() if path not in claimed]
        return sorted([*unnamed, *self._images.shadowed], key=self._images.relative)


def _list_images(folder: SourceFolder, layout: Layout, needed: bool) -> tuple[FolderIndex, FolderIndex]:
    """Return the images and the masks, or nothing where the source is tables alone."""
    if not needed:
        return FolderIndex(folder.root), FolderIndex(folder.root)
    images = folder.scan(layout.image_folders, keep=layout.is_image, by_path=layout.by_path)
    if not images.files:
        raise folder.error(
            f"no image in {' or '.join(f + '/' for f in layout.image_folders)}, {folder.said} "
            f"holds {', '.join(folder.present())}; needs the image files; put them there"
        )
    masks = folder.scan(layout.mask_folders, keep=layout.is_mask) if layout.mask_folders else FolderIndex(folder.root)
    return images, masks
