"""data/sources.json: what every source holds right now. DVC compares it, so ingest reruns exactly when one changed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipelines.sources.interface import SourceReader
from pipelines.sources.registry import open_sources
from schemas.params import Params
from schemas.paths import Workspace
from schemas.table import write_text
from schemas.taxonomy import taxonomy_sha256


def write_fingerprint(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Return the fingerprint of every source, and write it to data/sources.json.

    An image file counts by name, size and modification time; reading 100 GB to learn that nothing changed would cost
    more than the build. Tables and the taxonomy count by their contents.

    Raises:
        SourceError: a folder, table, column or image folder is missing. Nothing is written then.
    """
    readers = open_sources(workspace, params)
    found = {
        "format": 1,
        "taxonomy_sha256": taxonomy_sha256(),
        "sources": {name: reader.fingerprint() for name, reader in readers.items()},
    }
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if not workspace.sources.is_file() or workspace.sources.read_bytes() != text.encode():
        write_text(text, workspace.sources)
    return found


def source_digest(reader: SourceReader) -> str:
    """Return one sha256 for everything that decides what ingest makes of a source."""
    found = json.dumps([reader.fingerprint(), taxonomy_sha256()], sort_keys=True)
    return hashlib.sha256(found.encode()).hexdigest()
