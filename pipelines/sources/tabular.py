"""The reader shared by datasets published as one CSV, image folders and perhaps mask folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.sources.folder import FolderIndex, folders_present, require_folder, scan
from pipelines.sources.interface import Facts, Fault, Refused, SourceRow
from pipelines.sources.picture import FilePicture
from pipelines.sources.table import RawRow, read_csv
from schemas.errors import SourceError
from schemas.licences import DATASETS, Licence, licence_of
from schemas.taxonomy import read_taxonomy, vocabulary
from schemas.words import Modality


@dataclass(frozen=True)
class Layout:
    """How a publisher lays a dataset out. Folder names are patterns, matched in the dataset's own folder."""

    dataset: str
    modality: Modality
    table: str
    columns: Sequence[str]
    row_id: str
    """Column that names the row, and its image file."""
    label: str
    """Column that holds the diagnosis."""
    image_folders: Sequence[str]
    image_names: Callable[[str], Sequence[str]]
    """File names an image may have, given the row id, best first."""
    interpret: Callable[[Mapping[str, str]], Facts]
    """The row's facts; raises Refused for a value outside the vocabulary."""
    mask_folders: Sequence[str] = ()
    mask_names: Callable[[str], Sequence[str]] | None = None


class TabularReader:
    """A SourceReader over a Layout: one pass over the table and one listing of the folders when it is opened."""

    def __init__(self, name: str, layout: Layout, root: Path, path_said: str) -> None:
        """Open the source.

        Raises:
            SourceError: the folder, its table, a column or the image folder is missing, or the table has no rows.
        """
        require_folder(root, path_said, name)
        self.name = name
        self.dataset = layout.dataset
        self.modality = layout.modality
        self._layout = layout
        self._path_said = path_said
        self._table = read_csv(root / layout.table, layout.columns, name)
        self._images = scan(root, layout.image_folders)
        if not self._images.files:
            raise SourceError(
                f"sources.use.{name}: no image in {' or '.join(f + '/' for f in layout.image_folders)}, {path_said} "
                f"holds {', '.join(folders_present(root))}; needs the image files; put them there"
            )
        self._masks = scan(root, layout.mask_folders) if layout.mask_folders else FolderIndex(root)
        self._shadowed = frozenset(self._images.shadowed)
        self._repeats = self._find_repeats()
        self._strays = self._find_strays()

    @property
    def licence(self) -> Licence:
        """The dataset's licence."""
        return licence_of(DATASETS[self.dataset].licence)

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
        """Return what decides the result: table, files, labels, licence, layout."""
        labels = Counter(row.values.get(self._layout.label, "") for row in self._table.rows)
        return {
            "adapter": self.dataset,
            "modality": str(self.modality),
            "licence": self.licence.id,
            "citation": DATASETS[self.dataset].citation,
            "params": {"path": self._path_said},
            "rows": self.table_rows,
            "files_without_row": len(self._strays),
            "labels": dict(sorted(labels.items())),
            "tables": {self._table.name: {"bytes": self._table.size, "sha256": self._table.sha256}},
            "images": self._images.fingerprint(),
            "masks": self._masks.fingerprint(),
        }

    def _row(self, position: int, row: RawRow) -> SourceRow:
        row_id = row.values.get(self._layout.row_id, "").strip()
        named = row_id or f"line {row.line}"
        try:
            self._check_identity(position, row, row_id)
            facts = self._layout.interpret(row.values)
            self._check_label(facts.label)
            return SourceRow(named, row.values, facts, self._picture(row_id))
        except Refused as refused:
            return SourceRow(named, row.values, fault=Fault(refused.code, refused.message))

    def _check_identity(self, position: int, row: RawRow, row_id: str) -> None:
        column = self._layout.row_id
        if row.damage:
            raise Refused("row_malformed", row.damage)
        if not row_id:
            raise Refused("id_missing", f"line {row.line} has no {column}; needs one; correct the line")
        if not is_plain_name(row_id):
            raise Refused(
                "unsafe_name", f"{column} {row_id!r} is not a plain file name; needs one without a path; fix it"
            )
        if position in self._repeats:
            first = self._table.rows[self._repeats[position]].line
            raise Refused(
                "duplicate_id", f"{column} {row_id} is on line {first} already; needs to be unique; drop one row"
            )

    def _check_label(self, label: str) -> None:
        if (self.dataset, label) not in read_taxonomy():
            known = ", ".join(vocabulary(self.dataset))
            raise Refused(
                "label_unmapped",
                f"{self._layout.label} {label!r} is not one of {known}; add a line for it to schemas/taxonomy.csv",
            )

    def _picture(self, row_id: str) -> FilePicture:
        names = self._layout.image_names(row_id)
        path = self._images.find(names)
        if path is None:
            hint = self._differs_in_case(names)
            found = f"; {hint} differs in upper and lower case only; rename it" if hint else "; put the file there"
            raise Refused("image_missing", f"no image file {' or '.join(names[:2])} in the source{found}")
        masks = self._layout.mask_names(row_id) if self._layout.mask_names else ()
        return FilePicture(path, self._masks.find(masks))

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

    def _find_repeats(self) -> dict[int, int]:
        """Return, for every row whose id came before, the position of the first."""
        first: dict[str, int] = {}
        repeats = {}
        for position, row in enumerate(self._table.rows):
            row_id = row.values.get(self._layout.row_id, "").strip()
            if row_id and first.setdefault(row_id, position) != position:
                repeats[position] = first[row_id]
        return repeats

    def _find_strays(self) -> list[Path]:
        claimed = set()
        for row in self._table.rows:
            path = self._images.find(self._layout.image_names(row.values.get(self._layout.row_id, "").strip()))
            claimed.add(path)
        unnamed = [path for path in self._images.files.values() if path not in claimed]
        return sorted([*unnamed, *self._images.shadowed], key=self._images.relative)


def is_plain_name(text: str) -> bool:
    """Return whether the text names a file and nothing else: no path, no parent, no control characters."""
    return text not in (".", "..") and not any(c in "/\\" or ord(c) < 32 for c in text) and len(text.encode()) <= 200
