"""What of a source must not change unseen, taken from its reader: the size, words, shares, licence and columns."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any, Final

from pipelines.sources.interface import SourceReader
from schemas.drift import Profile
from schemas.location_params import S3, Location
from schemas.paths import Workspace
from schemas.source_params import Source

LICENCE_FILE: Final = re.compile(r"(licen[cs]e|copying|terms)([._-].*)?", re.IGNORECASE)
"""Files in which publishers put their terms."""


def profile(reader: SourceReader, workspace: Workspace, source: Source) -> Profile:
    """Return a source's profile. An adapter's fingerprint is asked first; what it leaves out is counted from its rows."""
    found = reader.fingerprint()
    if not {"labels", "columns", "fst"} <= found.keys():
        found = _counted(reader) | found
    return Profile(
        adapter=reader.dataset,
        modality=str(reader.modality),
        licence=reader.licence.id,
        licence_allows=list(reader.licence.allows),
        citation=found.get("citation", ""),
        licence_files=_licence_files(reader.name, workspace, source),
        rows=reader.table_rows,
        files_without_row=found.get("files_without_row", 0),
        image_files=found.get("images", {}).get("files", 0),
        image_bytes=found.get("images", {}).get("bytes", 0),
        mask_files=found.get("masks", {}).get("files", 0),
        columns=list(found["columns"]),
        labels=dict(found["labels"]),
        fst=dict(found["fst"]),
        tables={name: table["sha256"] for name, table in found.get("tables", {}).items()},
    )


def _counted(reader: SourceReader) -> dict[str, Any]:
    """Return labels, Fitzpatrick types and columns from one pass over the rows; no picture is read."""
    labels: Counter[str] = Counter()
    types: Counter[str] = Counter()
    columns: dict[str, None] = {}
    for row in reader.rows(0, reader.table_rows):
        columns |= dict.fromkeys(row.raw)
        labels[row.facts.label if row.facts else f"({row.fault.code if row.fault else 'no facts'})"] += 1
        types[str((row.facts.fst if row.facts else None) or "unknown")] += 1
    return {"labels": dict(sorted(labels.items())), "fst": dict(sorted(types.items())), "columns": list(columns)}


def _licence_files(name: str, workspace: Workspace, source: Source) -> dict[str, str]:
    """Return name -> sha256 of the files with terms in the source's folder; of a bucket, those in its mirror.

    A local folder whose images came by URL is asked itself: its mirror holds the table and the images alone.
    """
    if not isinstance(source, Location):
        return {}
    folder = workspace.fetched(name) if source.path.startswith(S3) else workspace.path(source.path)
    if not folder.is_dir():
        return {}
    files = (p for p in folder.iterdir() if p.is_file() and LICENCE_FILE.fullmatch(p.name))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}
