"""Gates set by real images the probe and the copy bound have not seen: nothing here looks at a synthetic image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.corpus import Corpus, read_corpus, read_labels
from pipelines.embedding.extractor import Extractor, default_extractor
from pipelines.imaging.hashing import patterns, posed_patterns
from pipelines.imaging.tone import measure_ita
from pipelines.probes.arrays import save_arrays
from pipelines.probes.lesion import LesionProbe, calibration_error, fit_lesion_probe, save_probe
from pipelines.probes.skin_type import (
    by_type,
    colours,
    fit_skin_type_probe,
    read_held_out,
    save_skin_type_probe,
)
from pipelines.probes.skin_type_trust import SkinTypeTrust, check_probe, no_probe
from pipelines.produce.calibration import (
    EXTRACTOR,
    Calibration,
    LesionCheck,
    ModalityCalibration,
    gates_folder,
    inputs_digest,
    probe_path,
    reference_path,
    skin_type_probe_path,
    stored_calibration,
    unit_length,
)
from pipelines.produce.likeness import thumbnails
from pipelines.produce.manifold import (
    OutlierBound,
    neighbour_radii,
    outlier_bounds,
    own_patient,
    strangeness,
)
from pipelines.produce.nearest import nearest_thumbnails, nearest_vectors
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
"""A thumbnail or pattern nearer than this share of what two real images come to is the same picture."""

LEAST_PIXEL_BOUND: Final = 0.5
"""Levels of 255. Encoding and rounding move a thumbnail by less, so an exact or flipped copy is always under it."""

LEAST_PATTERN_BOUND: Final = 0.02
"""Of 2. Rounding moves a pattern of any contrast by less."""


@dataclass(frozen=True)
class Seen:
    """Images and everything the gates measure on them, once."""

    corpus: Corpus
    features: NDArray[np.float32]  # (N, D)
    colours: NDArray[np.float64]  # (N, 4)
    patterns: NDArray[np.float32]  # (N, 414)
    thumbs: NDArray[np.uint8]  # (N, 16, 16, 3)

    @property
    def units(self) -> NDArray[np.float32]:
        """Features scaled to length 1."""
        return unit_length(self.features)

    @property
    def patients(self) -> NDArray[np.str_]:
        """Whom each image belongs to, (N,)."""
        return np.array(patients(self.corpus.rows), dtype=np.str_)

    @property
    def fst(self) -> list[int | None]:
        """Skin type of each image, as a person said."""
        return [row.fst for row in self.corpus.rows]


def see(corpus: Corpus, extractor: Extractor) -> Seen:
    """Return the images with their measurements."""
    tones = [measure_ita(image) for image in corpus.pixels]
    pixels = corpus.pixels
    return Seen(corpus, extractor(pixels), colours(tones), patterns(pixels), thumbnails(pixels))


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
    if stored is not None and stored.digest == digest and all(file.is_file() for file in _files(workspace, stored)):
        return stored
    extractor = extractor or default_extractor()
    parts = [_calibrate(workspace, params, modality, extractor, digest) for modality in modalities]
    result = Calibration(digest=digest, extractor=EXTRACTOR, modalities=tuple(parts))
    # Last, so that a calibration.json that is there speaks for files that are whole.
    write_text(result.model_dump_json(indent=2) + "\n", gates_folder(workspace) / "calibration.json")
    return result


def _files(workspace: Workspace, stored: Calibration) -> list[Path]:
    """Return the files that the calibration speaks for."""
    names = [m.modality for m in stored.modalities]
    files = [path(workspace, name) for name in names for path in (reference_path, probe_path)]
    fitted = [m.modality for m in stored.modalities if m.tone_probe.strength is not None]
    return files + [skin_type_probe_path(workspace, name) for name in fitted]


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
    gates = params.produce.gates
    corpus = read_corpus(workspace, modality, (Split.TRAIN, Split.VALIDATION))
    if not len(corpus.split(Split.TRAIN)):
        raise WorkspaceError(
            f"modality {modality.value}: a quota but no training image; add a source or change the split"
        )
    train, held = (see(corpus.split(split), extractor) for split in (Split.TRAIN, Split.VALIDATION))
    lesions, wanted = train.corpus.lesions.tolist(), held.corpus.lesions
    probe = fit_lesion_probe(train.features, lesions, params.produce.seed, groups=patients(train.corpus.rows))
    save_probe(probe, probe_path(workspace, modality))
    trust = _fit_skin_type(train, held, gates, skin_type_probe_path(workspace, modality))
    radii = neighbour_radii(train.units, train.patients, gates.outlier_neighbours)
    _save_reference(workspace, modality, train, radii, digest, trust.strength is not None)
    copies, how = _copy_bounds(train, held, gates)
    right = probe.predict(held.features) == wanted
    return ModalityCalibration(
        modality=modality,
        n_train=len(train.corpus),
        n_held_out=len(held.corpus),
        held_out=how,
        accuracy=float(right.mean()) if len(right) else None,
        calibration_error=calibration_error(probe.probabilities(held.features), right) if len(right) else None,
        probe_strength=probe.strength,
        lesions=_check_lesions(probe, train.corpus, held.corpus, held.features, gates),
        tone_probe=trust,
        outlier=_outlier_bounds(train, held, radii, gates),
        **copies,
    )


def patients(rows: Sequence[CatalogRow]) -> list[str]:
    """Return whom each image belongs to; an image whose source names no patient stands for itself."""
    return [row.patient_id or row.lesion_id or row.dup_cluster or row.image_id for row in rows]


def _fit_skin_type(train: Seen, held: Seen, gates: GateParams, path: Path) -> SkinTypeTrust:
    """Return what the skin type probe is worth on images it has not seen, after the probe is saved."""
    known, known_held = (np.array([f is not None for f in seen.fst], dtype=bool) for seen in (train, held))
    fst, fst_held = (np.array([f for f in seen.fst if f is not None], dtype=np.int_) for seen in (train, held))
    path.unlink(missing_ok=True)
    if len(np.unique(fst)) < 2:
        return no_probe(f"{len(fst)} training images of {len(np.unique(fst))} skin types; needs 2 types or more")
    whose = train.patients[known].tolist()
    reading, setting = read_held_out(train.colours[known], train.features[known], fst, whose)
    probe = fit_skin_type_probe(
        train.colours[known], train.features[known], fst, setting.strength, by_features=setting.by_features
    )
    save_skin_type_probe(probe, path)
    also = by_type(probe, held.colours[known_held], held.features[known_held])
    whose += held.patients[known_held].tolist()
    n_train = np.bincount(fst, minlength=7)[1:]
    both = np.concatenate([reading, also]), np.concatenate([fst, fst_held])
    return check_probe(*both, whose, n_train, setting, gates)


def _outlier_bounds(train: Seen, held: Seen, radii: NDArray[np.float64], gates: GateParams) -> tuple[OutlierBound, ...]:
    """Return the bounds from validation images and from training images, each without its own patient.

    None where no quantile is asked for: the gate abstains then.
    """
    if gates.outlier_quantile is None:
        return ()
    left_out = strangeness(train.units, train.units, radii, (train.patients, train.patients))
    unseen = strangeness(held.units, train.units, radii)
    return outlier_bounds(np.concatenate([left_out, unseen]), [*train.fst, *held.fst], gates.outlier_quantile)


def _copy_bounds(train: Seen, held: Seen, gates: GateParams) -> tuple[dict[str, float], str]:
    """Return the bounds of the copy and duplicate gates from each held-out image's nearest, and who was held out."""
    enough = len(held.corpus) >= FEWEST_HELD_OUT
    seen = held if enough else train
    own = None if enough else own_patient(train.patients, train.patients)
    features = nearest_vectors(seen.units[:, None], train.units, own=own).distance
    pattern = nearest_vectors(posed_patterns(seen.patterns), train.patterns, own=own).distance
    pixels = nearest_thumbnails(seen.thumbs, train.thumbs, own=own).distance
    pixel_bound = max(LEAST_PIXEL_BOUND, COPY_SHARE * _low(pixels, gates))
    bounds = {
        "copy_embedding": _low(features, gates),
        "copy_pattern": max(LEAST_PATTERN_BOUND, COPY_SHARE * _low(pattern, gates)),
        "copy_pixels": pixel_bound,
        "duplicate_pixels": pixel_bound,
    }
    return bounds, "validation" if enough else "train, leaving the patient out"


def _low(distances: NDArray[np.float64], gates: GateParams) -> float:
    """Return the low quantile of the distances; 0 where there are none."""
    known = distances[np.isfinite(distances)]
    return float(np.quantile(known, gates.copy_quantile)) if len(known) else 0.0


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
    workspace: Workspace, modality: Modality, train: Seen, radii: NDArray[np.float64], digest: str, skin_types: bool
) -> None:
    ids = [row.image_id for row in train.corpus.rows]
    about = {"digest": digest, "image_ids": ids, "skin_types": skin_types}
    tensors: dict[str, NDArray[Any]] = {"features": train.features, "radii": radii}
    tensors |= {"patterns": train.patterns, "thumbs": train.thumbs}
    save_arrays(tensors, about, reference_path(workspace, modality))
