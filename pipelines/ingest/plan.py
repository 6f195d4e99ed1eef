"""Which rows make which shard. A shard's key is a digest of everything that decides its contents."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from pipelines.ingest.withdrawn import read_withdrawn
from pipelines.sources.fingerprint import source_digest
from pipelines.sources.interface import SourceReader
from pipelines.sources.registry import open_sources
from schemas.params import Params
from schemas.paths import Workspace

CODE_FOLDERS: Final = ("sources", "ingest", "imaging", "phantoms")
"""Folders of `pipelines` whose code decides what a row becomes."""


@dataclass(frozen=True)
class ShardPlan:
    """One unit of ingest: rows start..stop of one source. Small, picklable, enough for another process."""

    source: str
    """Name in params.yaml."""
    number: int
    """Within the source, from 0."""
    start: int
    stop: int
    source_digest: str
    key: str
    """24 hex digits over source, parameters, code and range: the name of the shard's files while ingest runs."""


def plan_shards(workspace: Workspace, params: Params) -> list[ShardPlan]:
    """Return every shard of every source, in the order the catalog will have.

    Raises:
        SourceError: a source's folder, table, column or images are missing.
    """
    plans = []
    withdrawn = read_withdrawn(workspace, params.ingest.salt).key()
    for name, reader in open_sources(workspace, params).items():
        plans += _plan_source(name, reader, params, withdrawn)
    return plans


def _plan_source(name: str, reader: SourceReader, params: Params, withdrawn: str) -> list[ShardPlan]:
    digest, size = source_digest(reader), params.ingest.shard_rows
    # How many shards run at once does not change what they hold.
    settings = params.ingest.model_dump(mode="json", exclude={"workers", "shard_rows"})
    plans = []
    for number, start in enumerate(range(0, len(reader), size)):
        stop = min(start + size, len(reader))
        identity = json.dumps([name, digest, settings, withdrawn, start, stop, code_digest()], sort_keys=True)
        key = hashlib.sha256(identity.encode()).hexdigest()[:24]
        plans.append(ShardPlan(name, number, start, stop, digest, key))
    return plans


@cache
def code_digest() -> str:
    """Return a sha256 over the code that makes shards, so that a run after an upgrade never resumes the old one's."""
    digest = hashlib.sha256()
    pipelines = Path(__file__).parents[1]
    for folder in CODE_FOLDERS:
        for path in sorted((pipelines / folder).glob("*.py")):
            digest.update(f"{folder}/{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()
