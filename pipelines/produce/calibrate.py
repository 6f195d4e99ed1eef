"""Gates set by real images the probe and the copy bound have not seen: nothing here looks at a synthetic image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.corpus import Corpus, read_corpus, read_labels
from pipelines.embedding.extractor import Extractor, default_extractor
from pipelines.probes.arrays import save_arrays
from pipelines.probes.lesion import LesionProbe, calibration_error, fit_lesion_probe, save_probe
from pipelines.produce.calibration import (
    EXTRACTOR,
    Calibration,
    LesionCheck,
    ModalityCalibration,
    gates_folder,
    inputs_digest,
    probe_path,
    reference_path,
    stored_calibration,
    unit_length,
)
from pipelines.produce.likeness import pixel_distances, thumbnails
from schemas.catalog import CatalogRow
from schemas.errors import WorkspaceError
from schemas.params import GateParams, Params
from schemas.paths import Workspace
from schemas.strata import QuotaRow
from schemas.table import read_rows, write_text
from schemas.words import Lesion, Modality, Split

FEWEST_HELD_OUT: Final = 20
"""With fewer validation images a 1% quantile is noise: training images, own patient left out, then set the bound."""

COPY_SHARE: Final = 0.5
"""A thumbnail nearer than this share of what two real images come to is the same picture."""

LEAST_PIXEL_BOUND: Final = 0.5
"""Levels of 255. Encoding and rounding move a thumbnail by less, so an exact or flipped copy is always under it."""


def calibrate_gates(workspace: Workspace, params: Params, extractor: Extractor | None = None) -> Calibration:
    """Return the gates' bounds; computed once for the same images and parameters, then read back.

    Args:
        extractor: in place of the embedded one; it must bear the same name.

    Raises:
        WorkspaceError: stratify has not run, or a modality with a quota has no training image.
    """
    modalities = planned_modalities(workspace)
    digest = inputs_digest(read_labels(workspace), params, modalities)
    stored = stored_calibration(workspace)
    files = [path(workspace, m) for m in modalities for path in (reference_path, probe_path)]
    if stored is not None and stored.digest == digest and all(file.is_file() for file in files):
        return stored
    extractor = extractor or default_extractor()
    parts = [_calibrate(workspace, params, modality, extractor, digest) for modality in modalities]
    result = Calibration(digest=digest, extractor=EXTRACTOR, modalities=tuple(parts))
    # Last, so that a calibration.json that is there speaks for files that are whole.
    write_text(result.model_dump_json(indent=2) + "\n", gates_folder(workspace) / "calibration.json")
    return result


def planned_modalities(workspace: Workspace) -> list[Modality]:
    """Return the modalities that have a quota, in the order of `Modality`.

    Raises:
        WorkspaceError: stratify has not run.
    """
    if not workspace.quotas.is_file():
        raise WorkspaceError("data/strata/quotas.parquet: not there; run `equiderm stratify` first")
    wanted = {row.modality for row in read_rows(workspace.quotas, QuotaRow) if row.quota > 0}
    return [modality for modality in Modality if modality in wanted]


def _calibrate(
    workspace: Workspace, params: Params, modality: Modality, extractor: Extractor, digest: str
) -> ModalityCalibration:
    corpus = read_corpus(workspace, modality, (Split.TRAIN, Split.VALIDATION))
    train, held = corpus.split(Split.TRAIN), corpus.split(Split.VALIDATION)
    if not len(train):
        raise WorkspaceError(
            f"modality {modality.value}: a quota but no training image; add a source or change the split"
        )
    features, held_features = extractor(train.pixels), extractor(held.pixels)
    thumbs = thumbnails(train.pixels)
    probe = fit_lesion_probe(features, train.lesions.tolist(), params.produce.seed, groups=patients(train.rows))
    _save_reference(workspace, modality, train, features, thumbs, digest)
    save_probe(probe, probe_path(workspace, modality))
    nearest, pixels, how = _nearest_training(train, features, thumbs, held, held_features)
    bound = _pixel_bound(pixels, params.produce.gates)
    right = probe.predict(held_features) == held.lesions
    return ModalityCalibration(
        modality=modality,
        n_train=len(train),
        n_held_out=len(held),
        held_out=how,
        accuracy=float(right.mean()) if len(held) else None,
        calibration_error=calibration_error(probe.probabilities(held_features), right) if len(held) else None,
        probe_strength=probe.strength,
        lesions=_check_lesions(probe, train, held, held_features, params.produce.gates),
        copy_embedding=float(np.quantile(nearest, params.produce.gates.copy_quantile)) if len(nearest) else 0.0,
        copy_pixels=bound,
        duplicate_pixels=bound,
    )


def patients(rows: Sequence[CatalogRow]) -> list[str]:
    """Return whom each image belongs to; an image whose source names no patient stands for itself."""
    return [row.patient_id or row.lesion_id or row.dup_cluster or row.image_id for row in rows]


def _nearest_training(
    train: Corpus,
    features: NDArray[np.float32],
    thumbs: NDArray[np.uint8],
    held: Corpus,
    held_features: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Return each held-out image's embedding and pixel distance to its nearest training image, and who was held out."""
    units = unit_length(features)
    if len(held) >= FEWEST_HELD_OUT:
        apart = embedding_distances(unit_length(held_features), units)
        return apart.min(axis=1), pixel_distances(thumbnails(held.pixels), thumbs).min(axis=1), "validation"
    whose = np.array(patients(train.rows))
    own = whose[:, None] == whose[None, :]
    far = np.where(own, np.inf, embedding_distances(units, units)).min(axis=1)
    pixel = np.where(own, np.inf, pixel_distances(thumbs, thumbs)).min(axis=1)
    known = np.isfinite(far)
    return far[known], pixel[known], "train, leaving the patient out"


def embedding_distances(units: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (N, M) Euclidean distances, 0-2, between features of length 1."""
    cosines = units.astype(np.float64) @ others.astype(np.float64).T
    distances: NDArray[np.float64] = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * cosines))
    return distances


def _pixel_bound(nearest: NDArray[np.float64], gates: GateParams) -> float:
    if not len(nearest):
        return LEAST_PIXEL_BOUND
    return max(LEAST_PIXEL_BOUND, COPY_SHARE * float(np.quantile(nearest, gates.copy_quantile)))


def _check_lesions(
    probe: LesionProbe, train: Corpus, held: Corpus, held_features: NDArray[np.float32], gates: GateParams
) -> tuple[LesionCheck, ...]:
    """Return the probe's recall and the gate's pass rate on each lesion's held-out images."""
    chances = probe.probabilities(held_features)
    checks = []
    for lesion in sorted({row.lesion for row in train.rows}, key=list(Lesion).index):
        column = probe.classes.index(lesion.value)
        mine = held.lesions == lesion.value
        named = chances[mine].argmax(axis=1) == column
        kept = named & (chances[mine, column] >= gates.lesion_min_probability)
        checks.append(
            LesionCheck(
                lesion=lesion,
                n_train=int((train.lesions == lesion.value).sum()),
                n_held_out=int(mine.sum()),
                recall=float(named.mean()) if mine.any() else None,
                gate_pass=float(kept.mean()) if mine.any() else None,
            )
        )
    return tuple(checks)


def _save_reference(
    workspace: Workspace,
    modality: Modality,
    train: Corpus,
    features: NDArray[np.float32],
    thumbs: NDArray[np.uint8],
    digest: str,
) -> None:
    about = {"digest": digest, "image_ids": [row.image_id for row in train.rows]}
    save_arrays({"features": features, "thumbs": thumbs}, about, reference_path(workspace, modality))
