"""What is measured: one modality's real and accepted synthetic images as features with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.corpus import Corpus, read_corpus
from pipelines.embedding.extractor import Extractor
from pipelines.imaging.normalise import decode_png
from pipelines.produce.calibration import load_reference
from schemas.catalog import CatalogRow
from schemas.errors import CheckFailed
from schemas.ledger import AttemptRow, SyntheticRow
from schemas.paths import Workspace
from schemas.table import read_table
from schemas.words import Modality, Split

Cell = tuple[int | None, str]
"""FST and lesion: a stratum within one modality."""


@dataclass(frozen=True)
class Material:
    """Features and labels of one modality."""

    modality: Modality
    real: list[CatalogRow]
    real_features: NDArray[np.float32]  # (N, D)
    synthetic: list[AttemptRow]  # accepted ones
    synthetic_features: NDArray[np.float32]  # (M, D)

    def real_split(self, split: Split) -> NDArray[np.int_]:
        """Return the positions in `real` of one split's images."""
        return np.array([i for i, row in enumerate(self.real) if row.split == split], dtype=np.int_)


def read_material(
    workspace: Workspace, modality: Modality, ledger: Sequence[AttemptRow], extractor: Extractor, calibration: str
) -> Material:
    """Return one modality's features: training images' from the gates' calibration if it is at hand.

    Raises:
        CheckFailed: the ledger accepts an image that the shards do not hold.
        WorkspaceError: the catalog names an image that data/images does not hold.
    """
    corpus = read_corpus(workspace, modality, tuple(Split))
    accepted = sorted((a for a in ledger if a.accepted and a.modality == modality), key=lambda a: a.image_id)
    return Material(
        modality,
        corpus.rows,
        _real_features(workspace, modality, corpus, extractor, calibration),
        accepted,
        extractor(_synthetic_pixels(workspace, accepted)) if accepted else np.empty((0, extractor.dim), np.float32),
    )


def _real_features(
    workspace: Workspace, modality: Modality, corpus: Corpus, extractor: Extractor, calibration: str
) -> NDArray[np.float32]:
    try:
        reference = load_reference(workspace, modality, calibration)
        stored = dict(zip(reference.image_ids, reference.features, strict=True))
    except CheckFailed:
        stored = {}
    features = np.empty((len(corpus), extractor.dim), np.float32)
    fresh = np.array([row.image_id not in stored for row in corpus.rows], dtype=bool)
    if fresh.any():
        features[fresh] = extractor(corpus.pixels[fresh])
    for i in np.flatnonzero(~fresh):
        features[i] = stored[corpus.rows[i].image_id]
    return features


def _synthetic_pixels(workspace: Workspace, accepted: Sequence[AttemptRow]) -> NDArray[np.uint8]:
    table = read_table(workspace.shards, SyntheticRow)
    images = dict(zip(table["image_id"].to_pylist(), table["image"].to_pylist(), strict=True))
    missing = [a.image_id for a in accepted if a.image_id not in images]
    if missing:
        raise CheckFailed(
            f"production: the ledger accepts {len(missing)} images that production/shards does not hold, first "
            f"{missing[0]}; run `equiderm produce` again"
        )
    return np.stack([decode_png(images[a.image_id]["bytes"]) for a in accepted])
