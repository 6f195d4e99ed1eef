"""Which rows make which shard. A shard's key is a digest of everything that decides its contents."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pipelines.ingest.withdrawn import withdrawn_for_ingest
from pipelines.sources.fingerprint import check_unchanged, source_digest
from pipelines.sources.interface import SourceReader
from pipelines.sources.registry import open_sources
from schemas.code import RUN, code_sha256
from schemas.params import Params
from schemas.paths import Workspace

EVENLY: Final = 4
"""Shards of a source are dealt out evenly to this many processes, or to half as many."""

CODE_FOLDERS: Final = ("pipelines/sources", "pipelines/ingest", "pipelines/imaging", "pipelines/phantoms", "schemas")
"""Whose code decides what a row becomes: those that dvc.yaml names for ingest. So a run after an upgrade never resumes the
old one's shards."""


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
        SourceError: a source's folder, table, column or images are missing, or it changed since it was compared with
            what was accepted.
        ParamsError: the withdrawal list is damaged, or of another salt, resolution or colour constancy.
    """
    plans = []
    withdrawn = withdrawn_for_ingest(workspace, params.ingest).key()
    readers = open_sources(workspace, params)
    check_unchanged(workspace, readers)
    for name, reader in readers.items():
        plans += _plan_source(name, reader, params, withdrawn)
    return plans


def _plan_source(name: str, reader: SourceReader, params: Params, withdrawn: str) -> list[ShardPlan]:
    digest = source_digest(reader)
    # How many shards run at once does not change what they hold.
    settings = params.ingest.model_dump(mode="json", exclude={"workers", "shard_rows"})
    plans = []
    for number, (start, stop) in enumerate(pairwise(shard_bounds(len(reader), params.ingest.shard_rows))):
        identity = json.dumps(
            [name, digest, settings, withdrawn, start, stop, code_sha256(CODE_FOLDERS, RUN)], sort_keys=True
        )
        key = hashlib.sha256(identity.encode()).hexdigest()[:24]
        plans.append(ShardPlan(name, number, start, stop, digest, key))
    return plans


def shard_bounds(rows: int, size: int) -> list[int]:
    """Return where shards begin, and `rows` at the end: as few of equal length as hold `size` rows or fewer each.

    A few more, so that their number is a multiple of `EVENLY`, where they stay half full, as a file of the catalog must:
    of five shards two processes would make three and two, and one would wait. How many processes there are decides
    nothing: the same rows are the same files on any machine.
    """
    count = -(-rows // size)
    more = -(-count // EVENLY) * EVENLY
    if count and 2 * (rows // more) >= size:
        count = more
    return [rows * n // count for n in range(count + 1)] if count else [0]
