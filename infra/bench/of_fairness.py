"""What each fairness part of a training gives, and the two ablations of BiasMitigateGAN repeated on phantoms.

Every arm trains diffusion from scratch (never from the base, which has seen every stratum) on the same 840 imbalanced
default phantoms with the same seed, draws the same conditions, equally many of every FST, on the same keys, and is
measured against phantoms it has not seen: KID by FST (embedded extractor, equal n), the measured tone, and the share of
pictures measured in FST II-III. One seed: the standard deviation of KID over halves says how much of a difference is
luck of the drawing; the luck of the training it does not show. `full` has group weights too, which
are off by default. About 40 minutes on one core; EQUIDERM_BENCH_ARMS names some of the arms.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.embedding.distance import kid
from pipelines.embedding.extractor import default_extractor
from pipelines.generators.checkpoint import save_checkpoint
from pipelines.generators.conditioning import encode
from pipelines.generators.denoiser import LAYERS
from pipelines.generators.interface import Condition
from pipelines.generators.precision import quick_precision
from pipelines.generators.registry import entry, load_generator
from pipelines.imaging.sheet import contact_sheet
from pipelines.imaging.tone import measure_ita
from pipelines.phantoms.scene import VERSION, draw
from pipelines.train.base import base_source
from pipelines.train.data import TrainingSet, training_set
from pipelines.train.fairness import attach_fairness
from pipelines.train.loop import Budget, fit
from pipelines.train.run import start_from
from pipelines.train.sheets import exported
from schemas.params import SamplerParams
from schemas.source_params import PhantomSource
from schemas.table import write_text
from schemas.train_params import DiffusionParams, FairnessParams, TrainParams
from schemas.words import FST_RANGE, FST_ROMAN, ITA_BANDS_DEG, LESION_SHORT, Modality

IMAGES = int(os.environ.get("EQUIDERM_BENCH_IMAGES", "16000"))
EACH = int(os.environ.get("EQUIDERM_BENCH_EACH", "96"))
CHOSEN = os.environ.get("EQUIDERM_BENCH_ARMS", "").split(",")
BATCH, RATE, OPTIMIZER, LENGTH, SEED = 32, 6e-4, "muon", 0.1, 11
TRAIN, HELD_OUT = 840, 120

NO_WEIGHTS: dict[str, Any] = {"group_weights": {"use": False}}
NO_TONE: dict[str, Any] = {"tone": {"weight": 0}}
ARMS: dict[str, dict[str, Any]] = {
    "full": {},
    "no_fairness": {"even": True, "params": {**NO_WEIGHTS, **NO_TONE}},
    "no_fst_conditioning": {"hidden": True},
    "without_resampling": {"even": True},
    "without_group_weights": {"params": NO_WEIGHTS},
    "without_tone_term": {"params": NO_TONE},
}
CLAIM = {"spread_grows": 4.0, "share_in_II_III": 0.90}
"""BiasMitigateGAN: without the fairness loss the spread of FID across skin types, and without FST conditioning."""


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return every arm's figures by FST, and both ablations beside the claim."""
    folder = args.out / "fairness"
    asked = [phantom for fst in FST_RANGE for phantom in _of_type(fst, 0)]
    conditions = [Condition(Modality.PHANTOM, p.fst, p.lesion, p.ita_deg) for p in asked]
    extractor = default_extractor()
    real = {fst: extractor(np.stack([p.pixels for p in _of_type(fst, EACH)])).astype(np.float64) for fst in FST_RANGE}
    other = {f: extractor(np.stack([p.pixels for p in asked if p.fst == f])).astype(np.float64) for f in FST_RANGE}
    reference = {FST_ROMAN[f]: kid(other[f], real[f]) for f in FST_RANGE}
    arms = {}
    for name, settings in ARMS.items():
        if CHOSEN != [""] and name not in CHOSEN:
            continue
        kept = folder / name / f"result-{_of_what(settings)}.json"  # arms may be run one at a time
        if not kept.is_file():
            made = _drawn(name, settings, conditions, folder / name)
            _draw_sheet(made, conditions, name, folder / name / "sheet.png")
            write_text(json.dumps(_figures(made, conditions, real), indent=2), kept)
        arms[name] = json.loads(kept.read_text(encoding="utf-8"))
    print(_table(arms, reference))
    return {
        "images_seen": IMAGES, "batch": BATCH, "optimizer": OPTIMIZER, "learning_rate": RATE,
        "training_phantoms": TRAIN, "each_fst": EACH,
        "extractor": extractor.name, "kid_real_real": reference, "arms": arms, "claim": _beside_the_claim(arms),
    }  # fmt: skip


def _of_what(settings: dict[str, Any]) -> str:
    """Return a digest of all that an arm's figures depend on, but for code that has no version of its own."""
    about = [settings, IMAGES, EACH, BATCH, RATE, OPTIMIZER, LENGTH, SEED, TRAIN, HELD_OUT, LAYERS, VERSION]
    about += [SamplerParams().model_dump(mode="json"), default_extractor().name]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]


def _beside_the_claim(arms: dict[str, Any]) -> dict[str, Any]:
    """Return both ablations beside what was claimed of them, where their arms were run."""
    result: dict[str, Any] = {}
    if {"full", "no_fairness"} <= set(arms):
        grown = arms["no_fairness"]["kid_spread"] / arms["full"]["kid_spread"]
        result["spread_without_fairness_over_full"] = {"claimed": CLAIM["spread_grows"], "here": grown}
    if "no_fst_conditioning" in arms:
        share = arms["no_fst_conditioning"]["share_in_II_III"]
        result["share_in_II_III_without_fst"] = {"claimed": CLAIM["share_in_II_III"], "here": share, "asked": 1 / 3}
    return result


def _of_type(fst: int, skip: int) -> list[Any]:
    """Return EACH phantoms of one type, lesions alike, of seeds that no training here uses."""
    shares = [0.0] * 6
    shares[fst - 1] = 1.0
    source = base_source(2 * EACH).model_copy(update={"fst_shares": tuple(shares), "seed": 77_000 + fst})
    return [draw(source, skip + i) for i in range(EACH)]


def _phantoms(start: int, count: int, power: float, cap: float | None) -> TrainingSet:
    drawn = [draw(PhantomSource(), start + i) for i in range(count)]
    conditions = [Condition(Modality.PHANTOM, p.fst, p.lesion, p.ita_deg) for p in drawn]
    return training_set(np.stack([p.pixels for p in drawn]), conditions, power, "bench", cap)


def _drawn(name: str, settings: dict[str, Any], conditions: list[Condition], folder: Path) -> NDArray[np.uint8]:
    """Train one arm and return what it draws for the conditions (or for none of them, where the arm hides the tone)."""
    usual, even = TrainParams(), settings.get("even", False)
    data = _phantoms(0, TRAIN, 0.0 if even else usual.resample_power, None if even else usual.max_repeats)
    held_out = _phantoms(TRAIN, HELD_OUT, 0.0, None)
    if settings.get("hidden"):
        data = replace(data, codes=encode([_hidden(c) for c in data.conditions]))
        conditions = [_hidden(c) for c in conditions]
    torch.manual_seed(SEED)
    # the arms differ in what the denoiser learned; a guiding network would hide some of it
    precision = quick_precision()
    recipe = entry("diffusion").recipe(DiffusionParams(guiding=False, mixed_precision=precision), data.resolution)
    start_from(recipe, data, "scratch")
    fairness = FairnessParams.model_validate({"group_weights": {"use": True}, **settings.get("params", {})})
    attach_fairness(recipe, fairness, data, held_out, SEED)
    budget = Budget(IMAGES, BATCH, RATE, 1000, LENGTH, 50, 4000, optimizer=OPTIMIZER)
    run = fit(
        recipe, data, budget, seed=SEED, key=f"{name} {_of_what(settings)}", state=folder / "state",
        mixed_precision=precision,
        on_log=lambda row: print(name, json.dumps(row), flush=True), on_save=lambda _: None,
    )  # fmt: skip
    write_text(json.dumps(run.strata[-len(data.strata) * fairness.group_weights.noise_bins :]), folder / "strata.json")
    save_checkpoint(exported(recipe, run.average), {**recipe.config(), "images": run.images}, folder / "checkpoint")
    generator = load_generator(folder / "checkpoint", SamplerParams())
    keys = [hashlib.sha256(f"fairness {i}".encode()).hexdigest() for i in range(len(conditions))]
    parts = [slice(i, i + 48) for i in range(0, len(keys), 48)]
    return np.concatenate([generator.sample(conditions[p], keys[p]) for p in parts])


def _hidden(condition: Condition) -> Condition:
    return replace(condition, fst=None, ita_deg=None)


def _draw_sheet(made: NDArray[np.uint8], asked: list[Condition], name: str, path: Path) -> None:
    cells: dict[tuple[str, str], list[Any]] = {}
    for condition, image in zip(asked, made, strict=True):
        assert condition.fst is not None
        cells.setdefault((f"asked {FST_ROMAN[condition.fst]}", LESION_SHORT[condition.lesion]), []).append(image)
    rows, columns = (list(dict.fromkeys(cell[i] for cell in cells)) for i in (0, 1))
    contact_sheet(cells, rows, columns, per_cell=4, title=f"{name}, {IMAGES:,} images seen").save(path)


def _figures(made: NDArray[np.uint8], asked: list[Condition], real: dict[int, NDArray[np.float64]]) -> dict[str, Any]:
    """Return KID, tone and the share in II-III, by the FST that was asked for."""
    fst = np.array([c.fst for c in asked])
    ita = np.array([np.nan if (deg := measure_ita(p).deg) is None else deg for p in made])
    wanted = np.array([c.ita_deg for c in asked], np.float64)
    features = default_extractor()(made).astype(np.float64)
    rows = {}
    for g in FST_RANGE:
        mine = fst == g
        low, high = ITA_BANDS_DEG[g]
        rows[FST_ROMAN[g]] = {
            "n": int(mine.sum()),
            "kid": kid(features[mine], real[g]),
            "kid_sd_of_halves": _spread_of_halves(features[mine], real[g]),
            "in_band": float(np.mean((ita[mine] > low) & (ita[mine] <= high))),
            "median_error_deg": float(np.nanmedian(ita[mine] - wanted[mine])),
        }
    values = [row["kid"] for row in rows.values()]
    middle = (ita > ITA_BANDS_DEG[3][0]) & (ita <= ITA_BANDS_DEG[2][1])
    return {
        "by_fst": rows, "kid_spread": max(values) - min(values), "kid_ratio": max(values) / max(min(values), 1e-9),
        "share_in_II_III": float(middle.mean()), "tone_agreement": float(np.mean([r["in_band"] for r in rows.values()])),
    }  # fmt: skip


def _spread_of_halves(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    rng = np.random.default_rng(0)
    half = len(a) // 2
    return float(np.std([kid(a[rng.permutation(len(a))[:half]], b[rng.permutation(len(b))[:half]]) for _ in range(30)]))


def _table(arms: dict[str, Any], reference: dict[str, float]) -> str:
    types = [FST_ROMAN[f] for f in FST_RANGE]
    head = "| arm | " + " | ".join(f"KID {t}" for t in types) + " | max - min | max / min | in band | in II-III |"
    lines = [head, "|---|" + "---|" * (len(types) + 4)]
    lines.append("| real against real | " + " | ".join(f"{reference[t]:.3f}" for t in types) + " | | | | |")
    for name, arm in arms.items():
        kids = " | ".join(f"{arm['by_fst'][t]['kid']:.3f}" for t in types)
        tail = [f"{arm[k]:.2f}" for k in ("kid_spread", "kid_ratio", "tone_agreement", "share_in_II_III")]
        lines.append(f"| {name} | {kids} | " + " | ".join(tail) + " |")
    return "\n".join(lines)
