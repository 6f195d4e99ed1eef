"""Measured ITA against the human FST on PAD-UFES-20's photos: how far they agree, with and without colour constancy.

Neither is ever written into the other. The mapping of ITA classes onto FST I-VI that the kappa needs is the one that is
often used and just as often criticised (very light = I, light = II, intermediate = III, tan = IV, brown = V, dark = VI);
it is made here, for this table alone. The whole ingest runs, so the angles are those of the catalog.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from pipelines.ingest.plan import plan_shards
from pipelines.ingest.settle import settle_catalog
from pipelines.ingest.shard import ingest_shard
from schemas.catalog import CatalogRow
from schemas.params import parse_params
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import FST_RANGE, FST_ROMAN, ITA_BANDS_DEG, ColourConstancy

CLASSES = ("very light > 55", "light 41-55", "intermediate 28-41", "tan 10-28", "brown -30-10", "dark < -30")
BOOTSTRAP = 2000


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return confusion, Spearman's rho and quadratic-weighted kappa, 95% intervals over patients, for each method."""
    folder = (args.data / "pad_ufes_20").resolve()
    if not folder.is_dir():
        return {"skipped": f"{args.data / 'pad_ufes_20'}: no such folder; give --data"}
    result: dict[str, Any] = {}
    for method in ColourConstancy:
        result[str(method)] = _agreement(_catalog(folder, method))
        _print(str(method), result[str(method)])
    return result


def _catalog(folder: Path, method: ColourConstancy) -> list[CatalogRow]:
    with tempfile.TemporaryDirectory() as scratch:
        source = {"pad": {"adapter": "pad_ufes_20", "path": str(folder)}}
        workspace = Workspace(Path(scratch))
        params = parse_params({"sources": {"use": source}, "ingest": {"colour_constancy": str(method)}}, "bench")
        for shard in plan_shards(workspace, params):
            ingest_shard(workspace, params, shard)
        settle_catalog(workspace, params)
        return read_rows(workspace.catalog, CatalogRow)


def _agreement(catalog: list[CatalogRow]) -> dict[str, Any]:
    rows = [r for r in catalog if r.fst is not None and r.ita_deg is not None]
    fst = np.array([r.fst for r in rows])
    ita = np.array([r.ita_deg for r in rows], np.float64)
    patients = np.array([r.patient_id or r.image_id for r in rows])
    band = np.array([_band(v) for v in ita])
    confusion = [[int(((fst == f) & (band == b)).sum()) for b in FST_RANGE] for f in FST_RANGE]
    rng = np.random.default_rng(1991)
    draws = np.array([_scores(fst[i], ita[i], band[i]) for i in _resamples(rng, patients)])
    low, high = np.nanquantile(draws, (0.025, 0.975), axis=0)
    rho, kappa = _scores(fst, ita, band)
    return {
        "images": len(catalog), "with_fst_and_ita": len(rows), "patients": len(set(patients)),
        "spearman": [rho, low[0], high[0]], "kappa_quadratic": [kappa, low[1], high[1]],
        "same_class": float((fst == band).mean()), "confusion_fst_by_ita_class": confusion,
        "ita_by_fst": {f: [float(q) for q in np.quantile(ita[fst == f], (0.1, 0.5, 0.9))] for f in FST_RANGE if (fst == f).any()},
    }  # fmt: skip


def _band(ita_deg: float) -> int:
    return next((f for f, (low, high) in ITA_BANDS_DEG.items() if low < ita_deg <= high), 6)


def _scores(fst: NDArray[Any], ita: NDArray[Any], band: NDArray[Any]) -> tuple[float, float]:
    """Return (rho of FST with -ITA, so that agreement is positive; kappa)."""
    kappa = cohen_kappa_score(fst, band, labels=list(FST_RANGE), weights="quadratic")
    return float(spearmanr(fst, -ita).statistic), float(kappa)


def _resamples(rng: np.random.Generator, patients: NDArray[Any]) -> list[NDArray[np.intp]]:
    """Return bootstrap samples of whole patients: a patient's photos are no independent evidence."""
    _, which = np.unique(patients, return_inverse=True)
    groups = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    return [np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))]) for _ in range(BOOTSTRAP)]


def _print(method: str, found: dict[str, Any]) -> None:
    rho, kappa = found["spearman"], found["kappa_quadratic"]
    print(f"\n{method}: {found['with_fst_and_ita']} photos of {found['patients']} patients with FST and ITA; same class "
          f"{found['same_class']:.0%}; Spearman {rho[0]:.2f} ({rho[1]:.2f} to {rho[2]:.2f}); quadratic-weighted kappa "
          f"{kappa[0]:.2f} ({kappa[1]:.2f} to {kappa[2]:.2f})\n")  # fmt: skip
    print("| FST | " + " | ".join(CLASSES) + " | ITA p10, p50, p90 |\n|---|" + "---|" * (len(CLASSES) + 1))
    for fst, row in zip(FST_RANGE, found["confusion_fst_by_ita_class"], strict=True):
        quantiles = ", ".join(f"{q:.0f}" for q in found["ita_by_fst"].get(fst, []))
        print(f"| {FST_ROMAN[fst]} | " + " | ".join(map(str, row)) + f" | {quantiles} |")
