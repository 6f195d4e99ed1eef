"""A small workspace of phantoms, as stratify leaves it, and a generator that plants known defects."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.generators.interface import Condition
from pipelines.imaging.normalise import encode_png
from pipelines.phantoms.scene import Phantom, draw
from pipelines.produce.calibrate import calibrate_gates
from pipelines.produce.calibration import EXTRACTOR
from pipelines.produce.likeness import thumbnails
from schemas.catalog import CatalogRow, PixelRow
from schemas.params import EvaluateParams, GateParams, IngestParams, Params, ProduceParams, SourcesParams
from schemas.paths import Workspace
from schemas.source_params import PhantomSource
from schemas.strata import QuotaRow, StratumRow
from schemas.table import Image, write_rows
from schemas.words import Lesion, Modality, Split, Support

RESOLUTION = 32
COUNT = 300
LESIONS = (Lesion.NEVUS, Lesion.MELANOMA, Lesion.BASAL_CELL_CARCINOMA, Lesion.SEBORRHOEIC_KERATOSIS)
FLAT = (1 / 6,) * 5 + (1 - 5 / 6,)


@lru_cache(maxsize=1)
def phantoms() -> tuple[Phantom, ...]:
    """Return phantoms with every FST and lesion about equally often."""
    source = PhantomSource(
        count=COUNT, seed=3, resolution=RESOLUTION, fst_shares=FLAT, lesion_shares=dict.fromkeys(LESIONS, 0.25)
    )
    return tuple(draw(source, i) for i in range(COUNT))


def split_of(patient: str) -> Split:
    """Return a patient's split, 60 / 15 / 25."""
    share = int(hashlib.sha256(patient.encode()).hexdigest()[:6], 16) / 16**6
    return Split.TRAIN if share < 0.6 else Split.VALIDATION if share < 0.75 else Split.TEST


def catalog_row(phantom: Phantom, split: Split) -> CatalogRow:
    """Return the catalog row of a phantom; its id is made of its pixels."""
    name = hashlib.sha256(phantom.pixels.tobytes()).hexdigest()
    return CatalogRow(
        image_id=name[:24], source="phantom", source_row_id=name[:8], source_sha256=name, patient_id=phantom.patient,
        lesion_id=phantom.lesion_id, modality=Modality.PHANTOM, lesion=phantom.lesion, lesion_raw=phantom.lesion.value,
        fst=phantom.fst, fst_source=None, ita_deg=phantom.ita_deg, ita_pixels=500, colour_constancy="none",
        mask=True, width=RESOLUTION, height=RESOLUTION,
        licence="CC0-1.0", licence_allows=["commercial", "share", "derive"], site=phantom.site,
        age_band=None, sex=phantom.sex, split=split, dup_cluster=None,
    )  # fmt: skip


def write_workspace(root: Path, quotas: Mapping[tuple[int, Lesion], int], **produce: Any) -> tuple[Workspace, Params]:
    """Return a workspace with a catalog, pixels, strata and `quotas`, and parameters for it."""
    workspace = Workspace(root)
    rows = [catalog_row(p, split_of(p.patient)) for p in phantoms()]
    write_rows(rows, CatalogRow, workspace.splits)
    pixels = [
        PixelRow(image_id=r.image_id, image=Image(bytes=encode_png(p.pixels), path=f"{r.image_id}.png"), mask=None)
        for r, p in zip(rows, phantoms(), strict=True)
    ]
    write_rows(pixels, PixelRow, workspace.images / "00000.parquet")
    write_strata(workspace, rows, quotas)
    params = Params(
        sources=SourcesParams(use={"phantom": PhantomSource()}),
        ingest=IngestParams(resolution=RESOLUTION),
        produce=ProduceParams(**{"block": 8, "gates": GateParams(lesion_min_probability=0.4), **produce}),
        evaluate=EvaluateParams(bootstrap=50, min_images=8),
    )
    return workspace, params


def write_strata(workspace: Workspace, rows: Sequence[CatalogRow], quotas: Mapping[tuple[int, Lesion], int]) -> None:
    """Write strata.parquet and quotas.parquet for the catalog."""
    strata, asked = [], []
    for fst in range(1, 7):
        for lesion in LESIONS:
            mine = [r for r in rows if (r.fst, r.lesion) == (fst, lesion)]
            by = {split: sum(r.split == split for r in mine) for split in Split}
            have, quota = by[Split.TRAIN], quotas.get((fst, lesion), 0)
            cell: dict[str, Any] = {"modality": Modality.PHANTOM, "fst": fst, "lesion": lesion}
            cell["support"] = Support.BORROWED
            strata.append(
                StratumRow(
                    **cell, n_real=len(mine), n_train=have, n_validation=by[Split.VALIDATION], n_test=by[Split.TEST],
                    share=len(mine) / len(rows), ita_p05=None, ita_p50=None, ita_p95=None,
                )
            )  # fmt: skip
            asked.append(
                QuotaRow(**cell, target=have + quota, have=have, need=quota, cap=quota, quota=quota, reason=None)
            )
    write_rows(strata, StratumRow, workspace.strata)
    write_rows(asked, QuotaRow, workspace.quotas)


@lru_cache(maxsize=1)
def _store() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def precalibrate(workspace: Workspace, params: Params) -> None:
    """Put a calibration with `ThumbnailExtractor` into the workspace; the first one of a test run is used again."""
    stored, gates = Path(_store().name) / "gates", workspace.production / "gates"
    if stored.is_dir():
        shutil.copytree(stored, gates, dirs_exist_ok=True)
    calibrate_gates(workspace, params, ThumbnailExtractor())
    if not stored.is_dir():
        shutil.copytree(gates, stored)


def training_pixels() -> NDArray[np.uint8]:
    """Return the training images, uint8 (N, r, r, 3)."""
    return np.stack([p.pixels for p in phantoms() if split_of(p.patient) == Split.TRAIN])


def asked_phantom(fst: int, lesion: Lesion, seed: int) -> NDArray[np.uint8]:
    """Return a new phantom of one stratum."""
    shares = tuple(float(t == fst) for t in range(1, 7))
    source = PhantomSource(count=2, seed=seed, resolution=RESOLUTION, fst_shares=shares, lesion_shares={lesion: 1.0})
    return draw(source, 0).pixels


PLANTED = ("good", "good", "good", "good", "blank", "tone", "lesion", "copy", "flipped", "repeat")


def planted(key: str) -> str:
    """Return what the generator below does for this key."""
    return PLANTED[int(key[-4:], 16) % len(PLANTED)]


class PlantingGenerator:
    """Draws the asked phantom for 4 keys in 10, else a known defect. Everything follows from the key alone."""

    name = "diffusion"
    resolution = RESOLUTION
    checkpoint_sha256 = "f" * 64
    settings: Mapping[str, Any] = {"steps": 1}

    def __init__(self) -> None:
        self.drawn = 0

    def sample(self, conditions: Sequence[Condition], keys: Sequence[str]) -> NDArray[np.uint8]:
        """Return one image a key."""
        self.drawn += len(keys)
        return np.stack([self._one(c, k) for c, k in zip(conditions, keys, strict=True)])

    def _one(self, condition: Condition, key: str) -> NDArray[np.uint8]:
        what, seed = planted(key), int(key[:7], 16)
        assert condition.fst is not None
        if what == "blank":
            return np.full((RESOLUTION, RESOLUTION, 3), seed % 256, np.uint8)
        if what == "tone":
            return asked_phantom(7 - condition.fst, condition.lesion, seed)
        if what == "lesion":
            return asked_phantom(condition.fst, LESIONS[(LESIONS.index(condition.lesion) + 1) % 4], seed)
        if what in ("copy", "flipped"):
            image = training_pixels()[seed % len(training_pixels())]
            return np.rot90(image, 1 + seed % 3)[:, ::-1] if what == "flipped" else image
        if what == "repeat":
            turned = np.rot90(asked_phantom(condition.fst, condition.lesion, 1), seed % 4)
            return np.ascontiguousarray(turned)
        return asked_phantom(condition.fst, condition.lesion, seed)


class ThumbnailExtractor:
    """Features that need no network: the thumbnail's pixels. Quick, and batch-independent by construction."""

    name = EXTRACTOR
    dim = 768

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, 768)."""
        return thumbnails(pixels).reshape(len(pixels), 768).astype(np.float32)


@lru_cache(maxsize=64)
def _bank(fst: int, lesion: Lesion) -> NDArray[np.uint8]:
    """Return phantoms of one stratum, (12, r, r, 3)."""
    return np.stack([asked_phantom(fst, lesion, 50_000 + i) for i in range(12)])


class PatchworkGenerator:
    """Thousands of images a second that pass the gates: a phantom of the stratum under a pattern drawn from the key."""

    name = "diffusion"
    resolution = RESOLUTION
    checkpoint_sha256 = "e" * 64
    settings: Mapping[str, Any] = {"steps": 1}

    def sample(self, conditions: Sequence[Condition], keys: Sequence[str]) -> NDArray[np.uint8]:
        """Return one image a key."""
        images = []
        for condition, key in zip(conditions, keys, strict=True):
            assert condition.fst is not None
            rng = np.random.default_rng(int(key, 16))
            phantom = _bank(condition.fst, condition.lesion)[rng.integers(12)]
            pattern = rng.integers(-9, 10, (8, 8, 1)).repeat(4, 0).repeat(4, 1)
            images.append(np.clip(phantom + pattern, 0, 255).astype(np.uint8))
        return np.stack(images)
