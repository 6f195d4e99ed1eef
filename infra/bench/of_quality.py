"""How good raw samples of a diffusion checkpoint are, before any gate, on phantoms where the truth is known.

The shipped base, or the checkpoint folder in EQUIDERM_BENCH_CHECKPOINT, is asked for equally many images of every FST
x lesion cell (EQUIDERM_BENCH_EACH, default 12), with the tones of phantoms that no training saw, by the default sampler
(or the one in EQUIDERM_BENCH_SAMPLER, JSON). Measured against as many other phantoms: tone, lesion, KID, recall and
coverage, by FST and by lesion, and the same of a second set of real phantoms (the ceiling). EQUIDERM_BENCH_SET shifts
every seed but the probe's: choose settings on one set and report another. A target is met by its figure, and the 95%
interval says whether chance could have decided it. One training of one network: the luck of a training is not shown.
About 2 minutes on one core, half of them for phantoms and a probe, which --out keeps.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from balanced import CELLS, Floats, Images, balanced_phantoms, figures, fitted_probe, share_of_ceiling, spread_by_halves

from pipelines.embedding.extractor import default_extractor
from pipelines.generators.interface import Condition, Generator
from pipelines.generators.registry import BASE, load_generator
from schemas.params import SamplerParams

EACH = int(os.environ.get("EQUIDERM_BENCH_EACH", "12"))
SET = int(os.environ.get("EQUIDERM_BENCH_SET", "0"))
PROBE_EACH = 64
BATCH = 48
TARGETS = {
    "in_band": 0.95, "in_band_within": 0.03, "lesion_agreement": 0.90, "kid_ratio": 1.5, "recall": 0.6, "coverage": 0.6,
}  # fmt: skip
"""Least share in band in every FST and how far the worst may lie under the best; least agreement in every class; most
KID of the worst FST over the best; least recall and coverage, of what real phantoms reach."""


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return every figure by FST and lesion, the ceiling's beside it, and each target with whether it is met."""
    folder = Path(os.environ.get("EQUIDERM_BENCH_CHECKPOINT", BASE / "diffusion"))
    generator = load_generator(folder, SamplerParams(**json.loads(os.environ.get("EQUIDERM_BENCH_SAMPLER", "{}"))))
    kept = args.out / "phantoms"
    probe = fitted_probe(PROBE_EACH, 0, kept)
    real, again, asked = (balanced_phantoms(EACH, 1 + 3 * SET + i, kept) for i in range(3))
    made = Images(drawn(generator, asked.conditions), asked.conditions)
    found, ceiling = figures(made, real, probe), figures(again, real, probe)
    targets = judged(found, ceiling)
    print(table(found, ceiling), "\n\n" + "\n".join(said(t) for t in targets), sep="", flush=True)
    return {
        "checkpoint_sha256": generator.checkpoint_sha256, "settings": dict(generator.settings), "set": SET,
        "images": len(made.pixels), "cells": len(CELLS), "each": EACH, "probe_phantoms": PROBE_EACH * len(CELLS),
        "extractor": default_extractor().name, "targets": targets,
        "made": without_resamples(found), "real_real": without_resamples(ceiling),
    }  # fmt: skip


def drawn(generator: Generator, conditions: list[Condition]) -> Any:
    """Return an image for each condition, from keys fixed by its number and the set."""
    keys = [hashlib.sha256(f"quality {SET} {i}".encode()).hexdigest() for i in range(len(conditions))]
    parts = [slice(i, i + BATCH) for i in range(0, len(keys), BATCH)]
    return np.concatenate([generator.sample(conditions[p], keys[p]) for p in parts])


def judged(found: dict[str, Any], ceiling: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the targets: what is asked, what was found, its interval, and whether it is met."""
    types = found["fst"]
    rows = []
    for grouping, name in (("fst", "in_band"), ("lesion", "lesion_agreement")):
        for group, row in found[grouping].items():
            part = row[name]
            rows.append(_at_least(f"{name} {group}", TARGETS[name], part["value"], part["low"], part["high"]))
    rows.append(
        _at_most("in_band best - worst FST", TARGETS["in_band_within"], *apart([r["in_band"] for r in types.values()]))
    )
    kids = np.array([row["kid"]["value"] for row in types.values()])
    worst_over_best = float(kids.max() / max(kids.min(), 1e-9))
    rows.append(
        _at_most("kid worst / best FST", TARGETS["kid_ratio"], worst_over_best, *spread_by_halves(types, _ratio))
    )
    for name in ("recall", "coverage"):
        parts = [("all", found["all"]["all"], ceiling["all"]["all"])]
        parts += [(g, types[g], ceiling["fst"][g]) for g in types]
        for group, row, real in parts:
            part = share_of_ceiling(row, real, name)
            what = f"{name} over real's {group}"
            rows.append(_at_least(what, TARGETS[name], part["value"], part["low"], part["high"]))
    return rows


def apart(shares: list[dict[str, float]]) -> tuple[float, float, float]:
    """Return how far the least share lies under the greatest, and Newcombe's interval of that difference.

    Newcombe 1998, method 10, from both Wilson intervals: unlike resampling it is not of no width where all are 100%. That
    the two were picked for being extreme is not allowed for, so it lies too high.
    """
    best, worst = (pick(shares, key=lambda s: s["value"]) for pick in (max, min))
    gap = best["value"] - worst["value"]
    below = np.hypot(best["value"] - best["low"], worst["high"] - worst["value"])
    above = np.hypot(best["high"] - best["value"], worst["value"] - worst["low"])
    return gap, max(0.0, gap - float(below)), gap + float(above)


def _ratio(kids: Floats) -> Floats:
    ratios: Floats = kids.max(axis=0) / kids.min(axis=0)
    return ratios


def _at_least(what: str, target: float, value: float, low: float, high: float) -> dict[str, Any]:
    return {"what": what, "at_least": target, "value": value, "low": low, "high": high, "met": value >= target}


def _at_most(what: str, target: float, value: float, low: float, high: float) -> dict[str, Any]:
    return {"what": what, "at_most": target, "value": value, "low": low, "high": high, "met": value <= target}


def said(row: dict[str, Any]) -> str:
    """Return one line: met or not, what, the figure with its interval, the target, and whether chance could decide."""
    bound = row.get("at_least", row.get("at_most"))
    sign = ">=" if "at_least" in row else "<="
    near = " (interval holds the target)" if row["low"] <= bound <= row["high"] else ""
    return (
        f"{'met' if row['met'] else 'NOT MET':8}{row['what']}: {row['value']:.3f} "
        f"[{row['low']:.3f}, {row['high']:.3f}], target {sign} {bound:g}{near}"
    )


def table(found: dict[str, Any], ceiling: dict[str, Any]) -> str:
    """Return the figures as a Markdown table, real phantoms' own in brackets."""
    lines = [
        "| | n | in band | error, deg | absolute | lesion agrees | KID x 1000 | precision | recall | coverage |",
        "|---|" + "---|" * 9,
    ]
    for grouping, groups in found.items():
        for name, row in groups.items():
            real = ceiling[grouping][name]
            cells = [f"{row[k]['value']:.1%} ({real[k]['value']:.1%})" for k in ("in_band", "lesion_agreement")]
            kid, real_kid = (f"{1000 * r['kid']['value']:.0f} ± {1000 * r['kid']['sd']:.0f}" for r in (row, real))
            overlaps = " | ".join(f"{row[k]:.2f} ({real[k]:.2f})" for k in ("precision", "recall", "coverage"))
            lines.append(
                f"| {name} | {row['n']} | {cells[0]} | {row['median_error_deg']:+.1f} ({real['median_error_deg']:+.1f})"
                f" | {row['median_absolute_error_deg']:.1f} ({real['median_absolute_error_deg']:.1f})"
                f" | {cells[1]} | {kid} ({real_kid}) | {overlaps} |"
            )
    return "\n".join(lines)


def without_resamples(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the figures without what only intervals needed."""
    return {
        grouping: {
            name: {k: v for k, v in row.items() if k not in ("flags", "right")}
            | {"kid": {k: row["kid"][k] for k in ("value", "sd")}}
            for name, row in groups.items()
        }
        for grouping, groups in rows.items()
    }
