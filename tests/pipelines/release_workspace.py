"""A finished workspace, written by hand: what the stages before release leave behind, small and with known numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.normalise import encode_png
from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.ledger import GATES, AttemptRow, SyntheticRow
from schemas.metrics import CountRow, FidelityRow, Metrics, ToneRow, UtilityRow
from schemas.params import Params, parse_params
from schemas.paths import Workspace
from schemas.strata import QuotaRow, StratumRow
from schemas.table import Image, Row, write_rows
from schemas.words import Kind, Lesion, Modality, Split, Support

CHECKPOINT = hashlib.sha256(b"checkpoint").hexdigest()
SAMPLER = json.dumps({"guidance_tone": 1.5, "request_deg": [-55.0, -34.0], "steps": 16}, sort_keys=True)
SPLITS = (Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.VALIDATION, Split.TEST)


@dataclass(frozen=True)
class Plan:
    """One stratum: of every 5 real images 3 are train, 1 validation, 1 test."""

    fst: int | None
    lesion: Lesion
    real: int
    target: int
    quota: int
    accepted: int
    rejected: dict[str, int] = field(default_factory=dict)
    reason: str | None = None
    support: Support = Support.SUPPORTED

    @property
    def train(self) -> int:
        return sum(SPLITS[i % 5] is Split.TRAIN for i in range(self.real))


THREE = (
    Plan(2, Lesion.NEVUS, 20, 12, 0, 0),
    Plan(6, Lesion.MELANOMA, 10, 12, 6, 5, {"tone": 3, "lesion": 1, "surplus": 1}),
    Plan(
        6,
        Lesion.NEVUS,
        2,
        12,
        0,
        0,
        reason="2 real training images, 4 needed to learn from",
        support=Support.UNSUPPORTED,
    ),
)
"""32 real and 5 synthetic images, 10 attempts, shortfall 1, missing 11."""

Picture = Callable[[Plan, Kind, int], NDArray[np.uint8]]


def flat_picture(plan: Plan, kind: Kind, number: int) -> NDArray[np.uint8]:
    """Return a 24 px picture that no other plan, kind or number has."""
    seed = hashlib.sha256(f"{plan.fst}/{plan.lesion}/{kind}/{number}".encode()).digest()
    ground = np.full((24, 24, 3), (220 - 25 * (plan.fst or 3), 160, 130), np.uint8)
    return ground + np.random.default_rng(list(seed)).integers(0, 30, ground.shape, np.uint8)


def make_params(**release: object) -> Params:
    """Return the default parameters with a small release section."""
    section = {"name": "tiny", "version": "1.2.3", "shard_rows": 8, "row_group_rows": 64, **release}
    return parse_params({"sources": {"use": {"phantom": {"adapter": "phantom"}}}, "release": section}, "test")


def make_workspace(
    root: Path, plans: tuple[Plan, ...] = THREE, picture: Picture = flat_picture, *, source: str = "phantom",
    licence: str = "CC0-1.0", allows: tuple[str, ...] = ("commercial", "share", "derive"),
) -> Workspace:  # fmt: skip
    """Write every input of release under `root` and return the workspace."""
    space = Workspace(root)
    catalog, pixels = [], []
    attempts, synthetic = [], []
    for plan in plans:
        for i in range(plan.real):
            drawn = picture(plan, Kind.REAL, i)
            row = _catalog_row(plan, i, drawn.tobytes(), source, licence, allows)
            catalog.append(row)
            pixels.append(PixelRow(image_id=row.image_id, image=Image(bytes=encode_png(drawn), path=""), mask=None))
        made = _attempts(plan)
        attempts += made
        for row in made:
            if row.accepted:
                png = encode_png(picture(plan, Kind.SYNTHETIC, row.seed_index))
                synthetic.append(SyntheticRow(image_id=row.image_id, image=Image(bytes=png, path="x.png")))
    write_rows(catalog, CatalogRow, space.splits)
    _in_parts(pixels, PixelRow, space.images)
    _in_parts(attempts, AttemptRow, space.ledger)
    _in_parts(synthetic, SyntheticRow, space.shards)
    write_rows([_stratum(p, sum(q.real for q in plans)) for p in plans], StratumRow, space.strata)
    write_rows([_quota(p) for p in plans], QuotaRow, space.quotas)
    refused = QuarantineRow(source=source, source_row_id="r9", code="image_missing", message="r9: no image", raw="{}")
    write_rows([refused, refused], QuarantineRow, space.quarantine / "part.parquet")
    again = refused.model_copy(update={"source_row_id": "r8", "code": "near_duplicate", "message": "r8: as r1"})
    write_rows([again], QuarantineRow, space.duplicates / "quarantine.parquet")
    model = space.model("diffusion")
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"generator": "diffusion", "sha256": CHECKPOINT, "start": "base"}))
    (model / "card.md").write_text("# diffusion\n")
    space.evaluation.mkdir(parents=True)
    (space.evaluation / "metrics.json").write_text(_metrics(plans).model_dump_json(indent=2))
    return space


def folder_of(space: Workspace) -> Path:
    """Return where make_params() puts the release."""
    return space.releases / "tiny"


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file's bytes by its relative name."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _in_parts(rows: list[Row], kind: type[Row], folder: Path) -> None:
    """Two files, so that a reader must take both."""
    folder.mkdir(parents=True)
    half = len(rows) // 2
    write_rows(rows[:half], kind, folder / "a.parquet")
    write_rows(rows[half:], kind, folder / "b.parquet")


def _catalog_row(plan: Plan, i: int, drawn: bytes, source: str, licence: str, allows: tuple[str, ...]) -> CatalogRow:
    name = f"{plan.fst}-{plan.lesion}-{i}"
    return CatalogRow(
        image_id=hashlib.sha256(b"real" + drawn).hexdigest()[:24], source=source, source_row_id=f"row-{name}",
        source_sha256=hashlib.sha256(name.encode()).hexdigest(),
        patient_id=hashlib.sha256(name[:-1].encode()).hexdigest()[:16],
        lesion_id=None, modality=Modality.PHANTOM, lesion=plan.lesion, lesion_raw=str(plan.lesion), fst=plan.fst,
        fst_source=None, ita_deg=30.5, ita_pixels=400, colour_constancy="none",
        mask=False, width=24, height=24, licence=licence,
        licence_allows=list(allows), site="back", age_band="40-49", sex=None, split=SPLITS[i % 5], dup_cluster=None,
    )  # fmt: skip


def _attempts(plan: Plan) -> list[AttemptRow]:
    outcomes: list[str | None] = [None] * plan.accepted
    for reason, count in plan.rejected.items():
        outcomes += [reason] * count
    return [_attempt(plan, i, reason) for i, reason in enumerate(outcomes)]


def _attempt(plan: Plan, i: int, reason: str | None) -> AttemptRow:
    passed = {f"{gate}_passed": reason != gate for gate in GATES}
    return AttemptRow(
        image_id=hashlib.sha256(f"synthetic {plan.fst} {plan.lesion} {i}".encode()).hexdigest()[:24],
        modality=Modality.PHANTOM, fst=plan.fst, lesion=plan.lesion, seed_index=i, generator="diffusion",
        checkpoint_sha256=CHECKPOINT, sampler=SAMPLER, ita_deg=-41.25, decodable_score=1.0, blank_score=22.5,
        tone_probe_score=None, outlier_score=0.85,
        tone_score=12.0 if reason == "tone" else 0.0,
        lesion_score=0.9, copy_score=1.75, duplicate_score=2.5, accepted=reason is None, reason=reason, choice=None,
        **passed,
    )  # fmt: skip


def _stratum(plan: Plan, total: int) -> StratumRow:
    counts = {f"n_{s}": sum(SPLITS[i % 5] == s for i in range(plan.real)) for s in ("train", "validation", "test")}
    return StratumRow(
        modality=Modality.PHANTOM, fst=plan.fst, lesion=plan.lesion, n_real=plan.real, share=plan.real / total,
        ita_p05=-50.0, ita_p50=-40.0, ita_p95=-30.0, support=plan.support, **counts,
    )  # fmt: skip


def _quota(plan: Plan) -> QuotaRow:
    need = max(0, plan.target - plan.train)
    return QuotaRow(
        modality=Modality.PHANTOM, fst=plan.fst, lesion=plan.lesion, target=plan.target, have=plan.train, need=need,
        cap=max(plan.quota, need if plan.support is Support.SUPPORTED else 0), quota=plan.quota, support=plan.support,
        reason=plan.reason,
    )  # fmt: skip


def _metrics(plans: tuple[Plan, ...]) -> Metrics:
    """Return made-up scores, one of every shape: with an interval, without, and not measured."""
    phantom = {"modality": Modality.PHANTOM, "reason": None}
    kid = {**phantom, "group": "all", "metric": "kid", "extractor": "efficientnet-lite0", "real_images": "test"}
    none = {
        "modality": Modality.PHANTOM,
        "value": None,
        "low": None,
        "high": None,
        "n": 5,
        "reason": "5 images, 50 needed",
    }
    utility = {**phantom, "measure": "melanoma_fnr", "n": 60}
    return Metrics(
        extractor="efficientnet-lite0", generator="diffusion", generator_start="base",
        interval=0.95, resamples=400, seed=29,
        counts=[
            CountRow(modality=Modality.PHANTOM, fst=p.fst, lesion=p.lesion, real_train=p.train, quota=p.quota,
                     accepted=p.accepted, shortfall=p.quota - p.accepted,
                     attempts=p.accepted + sum(p.rejected.values()))
            for p in plans if p.quota
        ],
        fidelity=[
            FidelityRow(**kid, comparison="synthetic_real", value=0.0213, low=0.018, high=0.026, n=60),
            FidelityRow(**kid, comparison="real_real", value=-0.0004, low=-0.002, high=0.001, n=60),
            FidelityRow(
                **none, group="all", metric="fd", extractor="efficientnet-lite0", comparison="synthetic_real",
                real_images="test",
            ),
        ],
        tone=[
            ToneRow(**phantom, fst=6, images="attempted", measure="share_in_band", value=0.7, low=0.4, high=0.9, n=10),
            ToneRow(**phantom, fst=6, images="accepted", measure="share_in_band", value=1.0, low=None, high=None, n=5),
            ToneRow(**phantom, fst=6, images="accepted", measure="median_error_deg", value=1.24, low=-3, high=2.2, n=5),
        ],
        utility=[
            UtilityRow(**utility, group=group, training=kind, value=value, low=value - 0.1,
                       high=value + 0.1, n_train=200)
            for group, base in (("light", 0.2), ("dark", 0.5))
            for kind, value in (("real", base), ("real_synthetic", base - 0.08), ("difference", -0.08))
        ],
    )  # fmt: skip
