"""infra/withdrawn.csv, read: which rows and pixels must stay out, known by salted hash alone."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from pydantic import ValidationError

from pipelines.ingest.pseudonym import salt_name, salted
from pipelines.sources.interface import Refused, SourceRow
from schemas.catalog import QuarantineRow
from schemas.errors import ParamsError
from schemas.params import IngestParams
from schemas.paths import Workspace
from schemas.table import write_text
from schemas.withdrawal import WithdrawalKind, WithdrawalRow

WITHDRAWN: Final = "withdrawn"
"""Quarantine code of a row that was withdrawn. Its record keeps neither the row nor its id."""
LATER: Final = ("resolution", "colour_constancy", "of")
"""Columns that lists of older versions do not have. What their pixels were made with is unknown."""
MESSAGE: Final = "consent was withdrawn; the row stays out; see infra/withdrawn.csv"


@dataclass(frozen=True)
class Withdrawn:
    """The entries of the list, ready to be asked."""

    salt: str
    entries: tuple[WithdrawalRow, ...]
    patients: frozenset[tuple[str, str]]  # (dataset, digest)
    rows: frozenset[tuple[str, str]]
    images: frozenset[str]

    def key(self) -> str:
        """Return a sha256 over what is withdrawn (not when or why); empty if nothing is."""
        said = sorted({(e.dataset, e.kind.value, e.digest) for e in self.entries})
        return hashlib.sha256(repr(said).encode()).hexdigest() if said else ""

    def refuse_row(self, row: SourceRow, dataset: str) -> None:
        """Raise Refused if the row, or its patient, was withdrawn. Asked before the picture is read."""
        names = {row.row_id}
        if row.facts is None:  # perhaps a file that no row names any more: its name may be the id with an ending
            names |= {PurePosixPath(row.row_id).name, PurePosixPath(row.row_id).stem}
        if self.rows and any(self.has_row(dataset, name) for name in names):
            raise Refused(WITHDRAWN, MESSAGE)
        if not self.patients:
            return
        # A row that stays out for another reason has no facts, and its raw cells would be kept in quarantine: any cell
        # that is a withdrawn patient's id counts. One that only looks like it costs nothing, the row is out anyway.
        said = [row.facts.patient] if row.facts else [v.strip() for v in row.raw.values() if isinstance(v, str)]
        if any(name and self.has_patient(dataset, name) for name in said):
            raise Refused(WITHDRAWN, MESSAGE)

    def refuse_image(self, image_id: str) -> None:
        """Raise Refused if these pixels were withdrawn, whichever source or row they come from this time."""
        if self.has_image(image_id):
            raise Refused(WITHDRAWN, MESSAGE)

    def has_row(self, dataset: str, row_id: str) -> bool:
        """Return whether that row, by the publisher's id, was withdrawn."""
        return (dataset, salted(self.salt, dataset, "row", row_id)) in self.rows

    def has_patient(self, dataset: str, patient: str) -> bool:
        """Return whether that patient, by the publisher's id, was withdrawn."""
        return (dataset, salted(self.salt, dataset, "patient", patient)) in self.patients

    def has_image(self, image_id: str) -> bool:
        """Return whether those normalised pixels were withdrawn."""
        return bool(self.images) and salted(self.salt, "", "image", image_id) in self.images

    def record(self, source: str, dataset: str, row: SourceRow) -> QuarantineRow:
        """Return the quarantine row of a withdrawn row: counted, and nothing else."""
        name = salted(self.salt, dataset, "row", row.row_id)
        return QuarantineRow(source=source, source_row_id=name, code=WITHDRAWN, message=MESSAGE, raw="{}")


def withdrawn_for_ingest(workspace: Workspace, settings: IngestParams) -> Withdrawn:
    """Return the withdrawal list for those who make pixels: its images must be of pixels made in the same way.

    Raises:
        ParamsError: as `read_withdrawn`; or images on the list were made under another `ingest.resolution` or
            `ingest.colour_constancy`, and what brought them along has not as many under the present ones too.
    """
    found = read_withdrawn(workspace, settings.salt)
    images = [e for e in found.entries if e.kind == WithdrawalKind.IMAGE and e.resolution and e.colour_constancy]
    now = (settings.resolution, settings.colour_constancy)
    count = Counter((e.of, e.resolution, e.colour_constancy) for e in images)
    old = [
        e
        for e in images
        if (e.resolution, e.colour_constancy) != now
        and not (e.of and count[e.of, *now] >= count[e.of, e.resolution, e.colour_constancy])
    ]
    if old:
        made = sorted({f"resolution {e.resolution} and colour_constancy {e.colour_constancy}" for e in old})
        raise ParamsError(
            f"infra/withdrawn.csv: {len(old)} images of {len(found.entries)} entries were made under ingest's "
            f"{' or '.join(made)}, now {now[0]} and {now[1]}, so they would match nothing and other copies of them would "
            "come in; put the old values back, or `equiderm withdraw` the same patients and rows again under the new "
            "ones; where their pictures are no longer all there, empty resolution and colour_constancy of those lines"
        )
    return found


def read_withdrawn(workspace: Workspace, salt: str) -> Withdrawn:
    """Return the withdrawal list; an absent file withdraws nothing (in a build DVC insists that it is there).

    For those who ask about earlier images too: whatever their pixels were made with.

    Raises:
        ParamsError: a line is not an entry, or was written under another salt than `ingest.salt`.
    """
    path = workspace.withdrawn
    return _parse(path.read_bytes() if path.is_file() else b"", salt)


@lru_cache(maxsize=4)
def _parse(data: bytes, salt: str) -> Withdrawn:
    where, columns = "infra/withdrawn.csv", list(WithdrawalRow.model_fields)
    older = [column for column in columns if column not in LATER]
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
        if data and reader.fieldnames not in (columns, older):
            raise ParamsError(f"{where}: columns {reader.fieldnames}; needs {', '.join(columns)}; restore it from git")
        entries = tuple(_entry(row, f"{where} line {reader.line_num}") for row in reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ParamsError(f"{where}: not a UTF-8 CSV ({error}); restore it from git") from None
    foreign = sum(entry.salt != salt_name(salt) for entry in entries)
    if foreign:
        raise ParamsError(
            f"{where}: {foreign} of {len(entries)} entries were made under another ingest.salt, so they would match "
            "nothing and the withdrawn would come back; put the old salt back"
        )
    return _indexed(entries, salt)


def _entry(row: dict[str, str], where: str) -> WithdrawalRow:
    try:
        entry = WithdrawalRow.model_validate({k: None if k in LATER and not cell else cell for k, cell in row.items()})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "line"
        raise ParamsError(f"{where}: {field}: {first['msg']}; restore the line from git") from None
    if None in row.values():
        raise ParamsError(f"{where}: cells missing at its end, it was cut; restore the line from git")
    return entry


def _indexed(entries: tuple[WithdrawalRow, ...], salt: str) -> Withdrawn:
    def of(kind: WithdrawalKind) -> frozenset[tuple[str, str]]:
        return frozenset((e.dataset, e.digest) for e in entries if e.kind == kind)

    images = frozenset(digest for _, digest in of(WithdrawalKind.IMAGE))
    return Withdrawn(salt, entries, of(WithdrawalKind.PATIENT), of(WithdrawalKind.ROW), images)


def write_withdrawn(workspace: Workspace, entries: Iterable[WithdrawalRow]) -> None:
    """Write the list anew, atomically, in the order given."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(WithdrawalRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(entry.model_dump(mode="json") for entry in entries)
    write_text(buffer.getvalue(), workspace.withdrawn)
