"""What the gates know about the real images: bounds as JSON, the probe and the training images' features beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.embedding.corpus import read_labels
from pipelines.probes.arrays import load_arrays
from pipelines.probes.lesion import LesionProbe, load_probe
from pipelines.probes.skin_type import SkinTypeProbe, load_skin_type_probe
from pipelines.probes.skin_type_trust import SkinTypeTrust
from pipelines.produce.identity import digest
from pipelines.produce.manifold import OutlierBound
from schemas.catalog import CatalogRow
from schemas.errors import CheckFailed, WorkspaceError
from schemas.params import Params
from schemas.paths import Workspace
from schemas.words import Lesion, Modality, Split

FORMAT = 2
EXTRACTOR = "efficientnet-lite0-imagenet-128px"
"""The extractor the gates use; named here so that planning need not load it."""

CALIBRATED = {
    "copy_quantile",
    "lesion_min_probability",
    "outlier_neighbours",
    "outlier_quantile",
    "tone_probe_min_kappa",
    "tone_probe_min_probability",
}
"""The parameters of the gates that calibration reads; another value of them makes it anew."""


class LesionCheck(BaseModel):
    """How the probe did on one lesion's held-out real images."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lesion: Lesion
    n_train: int
    n_held_out: int
    recall: float | None  # share named right, 0-1
    gate_pass: float | None  # share that the lesion gate would keep, 0-1: the most that a perfect generator could reach


class ModalityCalibration(BaseModel):
    """Bounds of one modality's gates. Distances under a bound mean a copy or a duplicate."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    modality: Modality
    n_train: int
    n_held_out: int
    held_out: str  # `validation`, or `train, leaving the patient out` where there are too few validation images
    accuracy: float | None
    calibration_error: float | None  # expected calibration error of the probe, 0-1
    probe_strength: float
    lesions: tuple[LesionCheck, ...]
    tone_probe: SkinTypeTrust
    outlier: tuple[OutlierBound, ...]  # by skin type; None is everyone's; () where nothing was held out
    copy_embedding: float  # Euclidean distance between unit features, 0-2
    copy_pattern: float  # Euclidean distance between unit patterns, 0-2
    copy_pixels: float  # mean absolute difference of thumbnails, 0-255
    duplicate_pixels: float

    def outlier_bound(self, fst: int | None) -> float | None:
        """Return the bound for a skin type, in radii; that of everyone if none of the type was held out."""
        bounds = {b.fst: b.bound for b in self.outlier}
        return bounds.get(fst, bounds.get(None))


class Calibration(BaseModel):
    """production/gates/calibration.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = FORMAT
    digest: str  # over everything it was computed from
    extractor: str
    modalities: tuple[ModalityCalibration, ...]

    def of(self, modality: Modality) -> ModalityCalibration:
        """Return one modality's bounds.

        Raises:
            CheckFailed: it was not calibrated.
        """
        for found in self.modalities:
            if found.modality == modality:
                return found
        raise CheckFailed(f"gates: no calibration for modality {modality.value}; run `equiderm produce` again")


@dataclass(frozen=True)
class Reference:
    """A modality's probes and its real training images, in the order of `image_ids`."""

    probe: LesionProbe
    skin_type_probe: SkinTypeProbe | None  # None: too few images have a skin type
    image_ids: tuple[str, ...]
    features: NDArray[np.float32]  # (N, D) as extracted
    units: NDArray[np.float32]  # (N, D) scaled to length 1
    radii: NDArray[np.float64]  # (N,) distance to the k-th neighbour of another patient
    patterns: NDArray[np.float32]  # (N, 414) of length 1
    thumbs: NDArray[np.uint8]  # (N, 16, 16, 3)


def gates_folder(workspace: Workspace) -> Path:
    """Return where calibration lies."""
    return workspace.production / "gates"


def unit_length(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features (N, D) scaled to Euclidean length 1; a zero vector stays zero."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = features / np.maximum(norms, 1e-12)
    return scaled


def inputs_digest(rows: Sequence[CatalogRow], params: Params, modalities: Sequence[Modality]) -> str:
    """Return 24 hex digits over all that calibration is computed from; image ids stand for pixels."""
    gates = params.produce.gates
    seen = [
        [r.image_id, r.modality.value, r.lesion.value, r.fst, str(r.split), r.patient_id]
        for r in rows
        if r.modality in modalities and r.split in (Split.TRAIN, Split.VALIDATION)
    ]
    thresholds = gates.model_dump(include=CALIBRATED)
    return digest([FORMAT, EXTRACTOR, params.produce.seed, thresholds, seen])


def read_calibration(workspace: Workspace, params: Params) -> Calibration:
    """Return the stored calibration if it was made from the images and parameters of now.

    Raises:
        WorkspaceError: there is none, it is not readable, or it is of other images or parameters.
    """
    stored = stored_calibration(workspace)
    if stored is None:
        raise WorkspaceError("production/gates/calibration.json: none readable; gates need one; run `equiderm produce`")
    now = inputs_digest(read_labels(workspace), params, [m.modality for m in stored.modalities])
    if stored.digest != now:
        raise WorkspaceError(
            "production/gates/calibration.json: made from other images or params; run `equiderm produce`"
        )
    return stored


def stored_calibration(workspace: Workspace) -> Calibration | None:
    """Return the stored calibration whatever it was made from; None if there is none or it is not readable."""
    try:
        return Calibration.model_validate_json(
            (gates_folder(workspace) / "calibration.json").read_text(encoding="utf-8")
        )
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def reference_path(workspace: Workspace, modality: Modality) -> Path:
    """Return the file of a modality's training features and thumbnails."""
    return gates_folder(workspace) / f"{modality.value}-train.safetensors"


def probe_path(workspace: Workspace, modality: Modality) -> Path:
    """Return the file of a modality's lesion probe."""
    return gates_folder(workspace) / f"{modality.value}-probe.safetensors"


def skin_type_probe_path(workspace: Workspace, modality: Modality) -> Path:
    """Return the file of a modality's skin type probe; there is none where too few images have a skin type."""
    return gates_folder(workspace) / f"{modality.value}-skin-type.safetensors"


def load_reference(workspace: Workspace, modality: Modality, calibration_digest: str) -> Reference:
    """Return a modality's probes and training images; kept in memory while the digest stays.

    Raises:
        CheckFailed: a file is missing or damaged.
    """
    paths = (reference_path(workspace, modality), probe_path(workspace, modality))
    return _load_reference(*paths, skin_type_probe_path(workspace, modality), calibration_digest)


@lru_cache(maxsize=3)
def _load_reference(path: Path, probe: Path, skin_type: Path, calibration_digest: str) -> Reference:
    try:
        tensors, about = load_arrays(path)
    except (OSError, ValueError):
        tensors, about = {}, {}
    if about.get("digest") != calibration_digest:
        raise CheckFailed(f"{path.name}: missing, damaged or of another calibration; run `equiderm produce` again")
    return Reference(
        probe=load_probe(probe),
        skin_type_probe=load_skin_type_probe(skin_type) if about["skin_types"] else None,
        image_ids=tuple(about["image_ids"]),
        features=tensors["features"],
        units=unit_length(tensors["features"]),
        radii=tensors["radii"],
        patterns=tensors["patterns"],
        thumbs=tensors["thumbs"],
    )
