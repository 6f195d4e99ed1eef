"""data/sources.json: what every source holds right now. DVC compares it, so ingest reruns exactly when one changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.sources.drift import check_drift
from pipelines.sources.interface import SourceReader
from pipelines.sources.permission import left_out_sources
from pipelines.sources.registry import open_sources
from schemas.errors import SourceError
from schemas.params import Params
from schemas.paths import Workspace
from schemas.table import write_text
from schemas.taxonomy import taxonomy_sha256


def survey_sources(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Return the fingerprint of every source with how it stands against what was accepted, and which are left out.

    Raises:
        SourceError: a source cannot be opened or may not be used.
        CheckFailed: a source drifted (see `check_drift`). Nothing is written then.
    """
    readers = open_sources(workspace, params)
    drift = check_drift(workspace, params, readers)
    return {
        **write_fingerprint(workspace, params, readers),
        "drift": {name: survey.model_dump(mode="json") for name, survey in drift.items()},
        "left_out": [asdict(found) for found in left_out_sources(params)],
    }


def write_fingerprint(
    workspace: Workspace, params: Params, readers: Mapping[str, SourceReader] | None = None
) -> dict[str, Any]:
    """Return the fingerprint of every source, and write it to data/sources.json. `readers`: the sources if open.

    An image file counts by name, size and modification time; reading 100 GB to learn that nothing changed would cost
    more than the build. Tables and the taxonomy count by their contents.

    Raises:
        SourceError: a folder, table, column or image folder is missing. Nothing is written then.
    """
    readers = readers or open_sources(workspace, params)
    found = {
        "format": 1,
        "taxonomy_sha256": taxonomy_sha256(),
        "sources": {name: reader.fingerprint() for name, reader in readers.items()},
    }
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if not workspace.sources.is_file() or workspace.sources.read_bytes() != text.encode():
        write_text(text, workspace.sources)
    return found


def check_unchanged(workspace: Workspace, readers: Mapping[str, SourceReader]) -> None:
    """Stop if a source is no longer what data/sources.json says: that state was compared with the accepted one, not this.

    Without data/sources.json nothing was compared and nothing is refused.

    Raises:
        SourceError: a source changed, or is not in the file; the message names the first.
    """
    if not workspace.sources.is_file():
        return
    written = json.loads(workspace.sources.read_text(encoding="utf-8"))["sources"]
    for name, reader in readers.items():
        # Through JSON, as what it is compared with went.
        if json.loads(json.dumps(reader.fingerprint())) != written.get(name):
            found = "changed since" if name in written else "is not in"
            raise SourceError(
                f"source {name} {found} data/sources.json, which says what was compared with the accepted state; ingest "
                "needs that very state; run `equiderm build`, which compares first"
            )


def source_digest(reader: SourceReader) -> str:
    """Return one sha256 for everything that decides what ingest makes of a source."""
    found = json.dumps([reader.fingerprint(), taxonomy_sha256()], sort_keys=True)
    return hashlib.sha256(found.encode()).hexdigest()
