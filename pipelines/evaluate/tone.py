"""Whether the generator makes the tone it was asked for: from the ledger, before and after the gates."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from pipelines.evaluate.resample import EstimateFields, bootstrap_median, measured, not_measured, share
from pipelines.produce.identity import requested_ita
from schemas.ledger import AttemptRow
from schemas.metrics import ToneImages, ToneMeasure, ToneRow
from schemas.params import EvaluateParams
from schemas.words import Modality

NO_BAND = "FST unknown: no tone was asked for"


def tone_agreement(ledger: Sequence[AttemptRow], params: EvaluateParams) -> list[ToneRow]:
    """Return share in band and median error for each modality and FST in the ledger: all attempts, and the accepted."""
    rows = []
    groups = sorted({(a.modality, a.fst) for a in ledger}, key=lambda g: (g[0], g[1] or 0))
    for modality, fst in groups:
        attempts = [a for a in ledger if (a.modality, a.fst) == (modality, fst)]
        for images in ToneImages:
            mine = [a for a in attempts if a.accepted or images == ToneImages.ATTEMPTED]
            rows.extend(_rows(modality, fst, images, mine, params))
    return rows


def _rows(
    modality: Modality, fst: int | None, images: ToneImages, attempts: Sequence[AttemptRow], params: EvaluateParams
) -> list[ToneRow]:
    inside = _share_in_band(fst, attempts, params)
    error = _median_error(fst, attempts, params)
    about = {"modality": modality, "fst": fst, "images": images}
    return [
        ToneRow.model_validate({**inside, **about, "measure": ToneMeasure.SHARE_IN_BAND}),
        ToneRow.model_validate({**error, **about, "measure": ToneMeasure.MEDIAN_ERROR}),
    ]


def _share_in_band(fst: int | None, attempts: Sequence[AttemptRow], params: EvaluateParams) -> EstimateFields:
    if fst is None:
        return not_measured(len(attempts), NO_BAND)
    return share(sum(a.tone_score == 0 for a in attempts), len(attempts), params.interval)


def _median_error(fst: int | None, attempts: Sequence[AttemptRow], params: EvaluateParams) -> EstimateFields:
    if fst is None:
        return not_measured(len(attempts), NO_BAND)
    errors = np.array([e for e in map(signed_error, attempts) if e is not None], dtype=np.float64)
    if not len(errors):
        return not_measured(0, "no image with a measurable tone")
    draws = bootstrap_median(errors, params.bootstrap, params.seed)
    return measured(float(np.median(errors)), draws, params.interval, len(errors))


def signed_error(attempt: AttemptRow) -> float | None:
    """Return measured minus requested ITA, degrees (above 0: too light); None if nothing was asked or measured.

    The requested ITA is not stored: it follows from the image's id and the range in its sampler settings.
    """
    band = json.loads(attempt.sampler).get("request_deg")
    if not band or attempt.ita_deg is None:
        return None
    asked = requested_ita(attempt.image_id, (band[0], band[1]))
    return None if asked is None else attempt.ita_deg - asked
