"""What one source row becomes: a catalog row with its pixels, or a quarantine row that says why it stayed out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.imaging.constancy import balance
from pipelines.imaging.normalise import Normalised, encode_png, image_id, normalise
from pipelines.imaging.tone import Ita, measure_ita
from pipelines.ingest.pseudonym import pseudonym
from pipelines.ingest.withdrawn import WITHDRAWN, Withdrawn
from pipelines.sources.interface import LoadedPicture, Refused, SourceReader, SourceRow
from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.licences import Licence
from schemas.params import IngestParams
from schemas.table import Image
from schemas.words import ColourConstancy, Modality

DUPLICATE: Final = "duplicate_pixels"
"""Code of a row whose pixels entered with an earlier row; given when all shards are known, by `settle_catalog`."""

TOGETHER: Final = 16
"""Rows that go through ingest side by side. Of 1 to 128 tried, 16 to 64 took least time; more only takes more memory."""


@dataclass(frozen=True)
class _Origin:
    """What holds for every row of a source."""

    source: str
    id_space: str
    modality: Modality
    licence: Licence


@dataclass
class Outcome:
    """What became of the rows that were taken in."""

    catalog: list[CatalogRow] = field(default_factory=list)
    images: list[PixelRow] = field(default_factory=list)
    entered: list[QuarantineRow] = field(default_factory=list)
    refused: list[QuarantineRow] = field(default_factory=list)


@dataclass
class _Candidate:
    """One row on its way in: `refusal` says why it stopped, the rest is what the steps so far have made of it."""

    row: SourceRow
    refusal: Refused | None = None
    loaded: LoadedPicture = field(init=False)
    """With the square picture and mask in place of the file's, which may be a hundred times as large."""
    pixels: npt.NDArray[np.uint8] = field(init=False)
    name: str = field(init=False)
    tone: Ita = field(init=False)
    entry: CatalogRow = field(init=False)
    image: PixelRow = field(init=False)


class Intake:
    """Takes rows of one source in, some at a time, and keeps what became of them."""

    def __init__(self, source: str, reader: SourceReader, settings: IngestParams, withdrawn: Withdrawn) -> None:
        self._source, self._ids = source, reader.id_space
        self._origin = _Origin(source, reader.id_space, reader.modality, reader.licence)
        self._settings, self._withdrawn = settings, withdrawn
        self.outcome = Outcome()

    def take(self, rows: Iterable[SourceRow]) -> None:
        """Add what becomes of these rows to the outcome, in their order.

        Each step is done for all of them before the next one: going from one step to another leaves the processor's
        caches full of the wrong code and tables, which cost a tenth of the whole when every row did it alone.
        """
        candidates = [_Candidate(row) for row in rows]
        for step in (self._load, self._measure, self._encode, self._enter):
            for candidate in candidates:
                if candidate.refusal is None:
                    try:
                        step(candidate)
                    except Refused as refusal:
                        candidate.refusal = refusal
        for candidate in candidates:
            self._record(candidate)

    def _load(self, candidate: _Candidate) -> None:
        row = candidate.row
        self._withdrawn.refuse_row(row, self._ids)
        if row.fault is not None:
            raise Refused(row.fault.code, row.fault.message)
        if row.facts is None or row.picture is None or row.diagnosis is None:
            raise Refused(
                "incomplete", "the adapter gave neither a fault nor a picture; that is a defect of the adapter"
            )
        loaded = row.picture.load(self._settings)
        square, candidate.pixels, candidate.name = named_pixels(loaded, self._settings)
        candidate.loaded = replace(loaded, image=square.image, mask=square.mask)
        self._withdrawn.refuse_image(candidate.name)

    def _measure(self, candidate: _Candidate) -> None:
        balanced = self._settings.colour_constancy != ColourConstancy.NONE
        picture = candidate.pixels if balanced else candidate.loaded.image
        candidate.tone = measure_ita(picture, candidate.loaded.mask)

    def _encode(self, candidate: _Candidate) -> None:
        name, lesion = candidate.name, candidate.loaded.mask
        image = Image(bytes=encode_png(candidate.pixels), path=f"{name}.png")
        mask = None if lesion is None else Image(bytes=encode_png(lesion), path=f"{name}_mask.png")
        candidate.image = PixelRow(image_id=name, image=image, mask=mask)

    def _enter(self, candidate: _Candidate) -> None:
        candidate.entry = _catalog_row(candidate, self._origin, self._settings)

    def _record(self, candidate: _Candidate) -> None:
        row, refusal = candidate.row, candidate.refusal
        if refusal is None:
            self.outcome.catalog.append(candidate.entry)
            self.outcome.images.append(candidate.image)
            self.outcome.entered.append(quarantine_row(self._source, row, DUPLICATE, ""))
        elif refusal.code == WITHDRAWN:
            self.outcome.refused.append(self._withdrawn.record(self._source, self._ids, row))
        else:
            self.outcome.refused.append(quarantine_row(self._source, row, refusal.code, refusal.message))


def named_pixels(loaded: LoadedPicture, settings: IngestParams) -> tuple[Normalised, npt.NDArray[np.uint8], str]:
    """Return a picture's square, the pixels that enter a catalog (its light balanced), and their image_id.

    Also for those who ask which image a row is or would be: the same steps, or they name an image that never was.
    """
    square = normalise(loaded.image, loaded.mask, settings.resolution)
    pixels = balance(square.pixels, settings.colour_constancy)
    return square, pixels, image_id(pixels)


def _catalog_row(candidate: _Candidate, origin: _Origin, settings: IngestParams) -> CatalogRow:
    facts, diagnosis, loaded, tone = candidate.row.facts, candidate.row.diagnosis, candidate.loaded, candidate.tone
    assert facts is not None  # `_load` saw to both
    assert diagnosis is not None
    if diagnosis.lesion is None:
        raise Refused("label_unknown", f"label {facts.label!r} names no diagnosis; needs one; the row stays out")
    return CatalogRow(
        image_id=candidate.name,
        source=origin.source,
        source_row_id=candidate.row.row_id,
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
