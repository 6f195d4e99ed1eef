"""One shard of source rows becomes Parquet files: catalog rows, their pixels, and what was refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from pipelines.imaging.constancy import balance
from pipelines.imaging.normalise import encode_png, image_id, normalise
from pipelines.imaging.tone import Ita, measure_ita
from pipelines.ingest.pack import ROW_GROUP
from pipelines.ingest.plan import ShardPlan
from pipelines.ingest.pseudonym import pseudonym
from pipelines.ingest.withdrawn import WITHDRAWN, Withdrawn, read_withdrawn
from pipelines.sources.interface import Facts, LoadedPicture, Refused, SourceReader, SourceRow
from pipelines.sources.registry import open_source
from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.licences import Licence
from schemas.params import IngestParams, Params
from schemas.paths import Workspace
from schemas.table import Image, Row, write_rows, write_text
from schemas.taxonomy import Diagnosis
from schemas.words import Modality

DUPLICATE: Final = "duplicate_pixels"
"""Code of a row whose pixels entered with an earlier row; given when all shards are known, by `settle_catalog`."""


class ShardCount(Row):
    """What became of a shard's rows. Written last, so its file is the mark of a finished shard."""

    source: str
    number: int
    rows: int
    catalog: int
    quarantine: dict[str, int]
    """Rows by code."""


@dataclass(frozen=True)
class ShardFiles:
    """Where a shard lies while ingest runs."""

    catalog: Path
    images: Path
    quarantine: Path
    """The refused rows; then, in the catalog's order, every row that entered, as `duplicate_pixels` without a message:
    what becomes of it should an earlier shard hold the same pixels. The catalog does not keep the publisher's row."""
    count: Path


@dataclass(frozen=True)
class Origin:
    """What holds for every row of a source."""

    source: str
    id_space: str
    modality: Modality
    licence: Licence


def staging(workspace: Workspace) -> Path:
    """Return the folder of unfinished work. It outlives a killed run and is emptied by `settle_catalog`."""
    return workspace.catalog.with_name(".ingest")


def shard_files(workspace: Workspace, key: str) -> ShardFiles:
    """Return the paths of the shard with that key."""
    folder = staging(workspace) / "shards"
    return ShardFiles(
        catalog=folder / f"{key}.catalog.parquet",
        images=folder / f"{key}.images.parquet",
        quarantine=folder / f"{key}.quarantine.parquet",
        count=folder / f"{key}.json",
    )


def ingest_shard(workspace: Workspace, params: Params, plan: ShardPlan) -> ShardCount:
    """Return the counts of a shard, having written its files; a finished shard is not made again.

    Runs in any thread or process. A row that cannot enter is refused with a code; only a missing source raises.

    Raises:
        SourceError: the source's folder, table or columns are gone.
    """
    files = shard_files(workspace, plan.key)
    if files.count.is_file():
        return ShardCount.model_validate_json(files.count.read_text(encoding="utf-8"))
    source = params.sources.use[plan.source]
    reader = _reader(workspace, plan.source, source.model_dump_json(), plan.source_digest)
    outcome = _read_rows(reader, plan, params.ingest, read_withdrawn(workspace, params.ingest.salt))
    write_rows(outcome.catalog, CatalogRow, files.catalog)
    write_rows(outcome.images, PixelRow, files.images, row_group_size=ROW_GROUP)
    write_rows([*outcome.refused, *outcome.entered], QuarantineRow, files.quarantine)
    count = ShardCount(
        source=plan.source,
        number=plan.number,
        rows=plan.stop - plan.start,
        catalog=len(outcome.catalog),
        quarantine=dict(sorted(Counter(row.code for row in outcome.refused).items())),
    )
    write_text(count.model_dump_json(), files.count)
    return count


@dataclass
class _Outcome:
    """What became of the rows of one shard."""

    catalog: list[CatalogRow] = field(default_factory=list)
    images: list[PixelRow] = field(default_factory=list)
    entered: list[QuarantineRow] = field(default_factory=list)
    refused: list[QuarantineRow] = field(default_factory=list)


def _read_rows(reader: SourceReader, plan: ShardPlan, settings: IngestParams, withdrawn: Withdrawn) -> _Outcome:
    origin, ids = Origin(plan.source, reader.id_space, reader.modality, reader.licence), reader.id_space
    outcome = _Outcome()
    for row in reader.rows(plan.start, plan.stop):
        try:
            withdrawn.refuse_row(row, ids)
            entry, image = ingest_row(row, origin, settings)
            withdrawn.refuse_image(entry.image_id)
        except Refused as refusal:
            if refusal.code == WITHDRAWN:
                outcome.refused.append(withdrawn.record(plan.source, ids, row))
            else:
                outcome.refused.append(quarantine_row(plan.source, row, refusal.code, refusal.message))
        else:
            outcome.catalog.append(entry)
            outcome.images.append(image)
            outcome.entered.append(quarantine_row(plan.source, row, DUPLICATE, ""))
    return outcome


@lru_cache(maxsize=8)
def _reader(workspace: Workspace, name: str, source_json: str, digest: str) -> SourceReader:  # noqa: ARG001
    """Return the source, opened once a process and state of the source: `digest` is there to tell states apart."""
    params = Params.model_validate({"sources": {"use": {name: json.loads(source_json)}}})
    return open_source(name, params.sources.use[name], workspace)


def ingest_row(row: SourceRow, origin: Origin, settings: IngestParams) -> tuple[CatalogRow, PixelRow]:
    """Return the catalog row and pixels of one source row.

    Raises:
        Refused: the row cannot enter; the code says why.
    """
    if row.fault is not None:
        raise Refused(row.fault.code, row.fault.message)
    if row.facts is None or row.picture is None or row.diagnosis is None:
        raise Refused("incomplete", "the adapter gave neither a fault nor a picture; that is a defect of the adapter")
    loaded = row.picture.load(settings)
    square = normalise(loaded.pixels, loaded.mask, settings.resolution)
    pixels = balance(square.pixels, settings.colour_constancy)
    name = image_id(pixels)
    tone = measure_ita(pixels, square.mask)
    entry = _catalog_row(row.row_id, row.facts, row.diagnosis, origin, loaded, name, tone, settings)
    mask = None if square.mask is None else Image(bytes=encode_png(square.mask), path=f"{name}_mask.png")
    picture = PixelRow(image_id=name, image=Image(bytes=encode_png(pixels), path=f"{name}.png"), mask=mask)
    return entry, picture


def _catalog_row(
    row_id: str, facts: Facts, diagnosis: Diagnosis, origin: Origin, loaded: LoadedPicture, name: str, tone: Ita,
    settings: IngestParams,
) -> CatalogRow:  # fmt: skip
    if diagnosis.lesion is None:
        raise Refused("label_unknown", f"label {facts.label!r} names no diagnosis; needs one; the row stays out")
    return CatalogRow(
        image_id=name,
        source=origin.source,
        source_row_id=row_id,
        source_sha256=loaded.sha256,
        patient_id=pseudonym(settings.salt, origin.id_space, "patient", facts.patient),
        lesion_id=pseudonym(settings.salt, origin.id_space, "lesion", facts.lesion),
        modality=origin.modality,
        lesion=diagnosis.lesion,
        lesion_raw=facts.label,
        fst=facts.fst,
        fst_source=facts.fst_source,
        ita_deg=tone.deg,
        ita_pixels=tone.pixels,
        colour_constancy=settings.colour_constancy,
        mask=loaded.mask is not None,
        width=loaded.width,
        height=loaded.height,
        licence=origin.licence.id,
        licence_allows=list(origin.licence.allows),
        site=facts.site,
        age_band=facts.age_band,
        sex=facts.sex,
        split=None,
        dup_cluster=None,
        malignancy=diagnosis.malignancy,
        lesion_group=diagnosis.group,
        label_weight=facts.label_weight,
        fst_second=facts.fst_second,
        fst_second_source=facts.fst_second_source,
        tone_group=facts.tone_group,
        monk=facts.monk,
        monk_second=facts.monk_second,
    )


def quarantine_row(source: str, row: SourceRow, code: str, message: str) -> QuarantineRow:
    """Return the record of a row that stays out, with the row as the publisher wrote it."""
    return QuarantineRow(
        source=source,
        source_row_id=row.row_id,
        code=code,
        message=message,
        raw=json.dumps(dict(row.raw), ensure_ascii=False, sort_keys=True),
    )
