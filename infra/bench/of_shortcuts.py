"""What each shortcut of sampling saves, and what it costs by skin type and by lesion, so that none is paid by one type.

Every row draws the same conditions on the same keys (EQUIDERM_BENCH_EACH of every FST x lesion cell, default 6) with the
base or EQUIDERM_BENCH_CHECKPOINT, against the reference: 24 steps, SDE, lesions guided by 1.5 at every step, float32. The rows take
turns on every 24 images; the ratio is the median over turns of the reference's time over the row's, by the clock and by
processor time, which a busy machine disturbs less.

A loss is the reference's figure less the row's (of KID the row's less the reference's). A row is flagged where one group
loses more than its grouping's average and more than noise: the lower end of the interval of (its loss - the average
loss) lies above 0. Intervals are by resampling images in pairs (the same condition and key), of KID by halves (see
balanced.py), at 95% over all groups and measures of a row (Bonferroni); so a flag is hardly luck, and with few images
what is not flagged may still be there: `noise` says how far a group's excess loss could wander.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from balanced import CELLS, Floats, Images, balanced_phantoms, figures, fitted_probe
from numpy.typing import NDArray
from of_quality import PROBE_EACH, without_resamples

from pipelines.embedding.extractor import default_extractor
from pipelines.generators.interface import Generator
from pipelines.generators.registry import BASE, load_generator
from schemas.params import SamplerParams

EACH = int(os.environ.get("EQUIDERM_BENCH_EACH", "6"))
FIRST_SET: Final = 61
"""Sets of phantoms that of_quality does not reach with the numbers anyone will give it."""

LEVEL, RESAMPLES = 0.95, 4000
MEASURES: Final = ("in_band", "lesion_agreement", "kid")
REFERENCE: Final = "24 steps, SDE, guided throughout"
_LONG: dict[str, Any] = {"steps": 24, "guidance_lesion": 1.5, "guidance_until": 1.0}
_ODE: dict[str, Any] = {"stochastic": False}
_UNIPC: dict[str, Any] = {**_ODE, "solver": "unipc"}
ROWS: Final[dict[str, dict[str, Any]]] = {
    REFERENCE: _LONG,
    "12 steps": {**_LONG, "steps": 12},
    "8 steps": {**_LONG, "steps": 8},
    "6 steps": {**_LONG, "steps": 6},
    "12 steps, even in time": {**_LONG, "steps": 12, "spacing": "uniform"},
    "12 steps, as EDM spaces them": {**_LONG, "steps": 12, "spacing": "karras"},
    "ODE": {**_LONG, **_ODE},
    "ODE, 12 steps": {**_LONG, **_ODE, "steps": 12},
    "UniPC": {**_LONG, **_UNIPC},
    "UniPC, 12 steps": {**_LONG, **_UNIPC, "steps": 12},
    "UniPC, 8 steps": {**_LONG, **_UNIPC, "steps": 8},
    "bfloat16": {**_LONG, "precision": "bfloat16"},
    "guided until 0.8": {**_LONG, "guidance_until": 0.8},
    "guided 0.2 to 0.6": {**_LONG, "guidance_from": 0.2, "guidance_until": 0.6},
    "guidance every 2": {**_LONG, "guidance_every": 2},
    "without lesion guidance": {**_LONG, "guidance_lesion": 1.0},
    "without autoguidance": {**_LONG, "autoguidance": 1.0},
    "default": {},
    "default without autoguidance": {"autoguidance": 1.0},
}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return each row's speed, figures by group, losses and flags."""
    folder = Path(os.environ.get("EQUIDERM_BENCH_CHECKPOINT", BASE / "diffusion"))
    generators = {name: load_generator(folder, SamplerParams(**options)) for name, options in ROWS.items()}
    kept = args.out / "phantoms"
    probe = fitted_probe(PROBE_EACH, 0, kept)
    real, asked = (balanced_phantoms(EACH, FIRST_SET + i, kept) for i in range(2))
    drawn, seconds = in_turns(generators, asked)
    found = {name: figures(Images(drawn[name], asked.conditions), real, probe) for name in ROWS}
    rows = {}
    for name in ROWS:
        ratios = {
            clock: statistics.median(
                a / b for a, b in zip(seconds[REFERENCE][clock], seconds[name][clock], strict=True)
            )
            for clock in ("wall", "processor")
        }
        rows[name] = {
            "settings": dict(generators[name].settings), "faster": ratios, "losses": losses(found[name], found[REFERENCE]),
            "figures": without_resamples(found[name]),
        }  # fmt: skip
    print("\n\n".join(table(rows, m) for m in MEASURES) + "\n\n" + verdicts(rows), flush=True)
    return {
        "checkpoint_sha256": generators[REFERENCE].checkpoint_sha256, "images_a_row": len(asked.pixels), "each": EACH,
        "turns": len(seconds[REFERENCE]["wall"]), "extractor": default_extractor().name, "rows": rows,
    }  # fmt: skip


def in_turns(
    generators: dict[str, Generator], asked: Images
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, dict[str, list[float]]]]:
    """Return every row's images in the order asked, and its seconds by the clock and of the processor, a turn each."""
    order = np.arange(len(asked.pixels)).reshape(len(CELLS), EACH).T  # a turn is one image of every cell
    made = {name: np.empty_like(asked.pixels) for name in generators}
    seconds: dict[str, dict[str, list[float]]] = {name: {"wall": [], "processor": []} for name in generators}
    for turn in order:
        conditions = [asked.conditions[i] for i in turn]
        keys = [hashlib.sha256(f"shortcut {i}".encode()).hexdigest() for i in turn]
        for name, generator in generators.items():
            wall, processor = time.perf_counter(), time.process_time()
            made[name][turn] = generator.sample(conditions, keys)
            seconds[name]["wall"].append(time.perf_counter() - wall)
            seconds[name]["processor"].append(time.process_time() - processor)
    return made, seconds


def losses(row: dict[str, Any], reference: dict[str, Any]) -> list[dict[str, Any]]:
    """Return for every measure and group the loss, that less the grouping's average, its noise, and whether it is flagged."""
    found = []
    tests = len(MEASURES) * (len(row["fst"]) + len(row["lesion"]))
    tail = (1 - LEVEL) / tests
    for name in MEASURES:
        for grouping in ("fst", "lesion"):
            values, draws = _losses(name, row[grouping], reference[grouping])
            excess, wander = values - values.mean(), draws - draws.mean(axis=0)
            for i, group in enumerate(row[grouping]):
                low = float(np.quantile(wander[i], tail))
                found.append({"measure": name, "group": group, "loss": float(values[i]), "excess": float(excess[i])})
                found[-1] |= {"noise": float(excess[i]) - low, "flagged": bool(values[i] > 0 and low > 0)}
    return found


def _losses(name: str, row: dict[str, Any], reference: dict[str, Any]) -> tuple[Floats, Floats]:
    """Return the loss of each group (G,) and resamples of it (G, B)."""
    if name == "kid":
        pairs = [(np.array(row[g]["kid"]["halves"]), np.array(reference[g]["kid"]["halves"])) for g in row]
        values = [row[g]["kid"]["value"] - reference[g]["kid"]["value"] for g in row]
        return np.array(values), np.stack([ours - theirs for ours, theirs in pairs])  # the same halves of both
    rng = np.random.default_rng(0)
    lost = [reference[g]["right"][name].astype(float) - row[g]["right"][name] for g in row]
    draws = [x[rng.integers(0, len(x), (RESAMPLES, len(x)))].mean(axis=1) for x in lost]
    return np.array([x.mean() for x in lost]), np.stack(draws)


def table(rows: dict[str, Any], measure_name: str) -> str:
    """Return one measure as a Markdown table, a row each: how much faster, the figure by group, the worst loss."""
    groupings = ("all", "fst", "lesion")
    groups = [(g, name) for g in groupings for name in rows[REFERENCE]["figures"][g]]
    titles = " | ".join(name.replace("_", " ") for _, name in groups)
    lines = [
        f"| {measure_name} | times faster (processor) | {titles} | worst loss |",
        "|---|" + "---|" * (len(groups) + 2),
    ]
    for name, row in rows.items():
        cells = []
        for grouping, group in groups:
            value = row["figures"][grouping][group][measure_name]["value"]
            cells.append(f"{1000 * value:.0f}" if measure_name == "kid" else f"{value:.0%}")
        worst = max((x for x in row["losses"] if x["measure"] == measure_name), key=lambda x: x["loss"])
        speed = f"{row['faster']['wall']:.2f} ({row['faster']['processor']:.2f})"
        lines.append(
            f"| {name} | {speed} | {' | '.join(cells)} | {_amount(worst['loss'], measure_name)} {worst['group']} |"
        )
    return "\n".join(lines)


def _amount(value: float, name: str) -> str:
    return f"{1000 * value:+.0f}" if name == "kid" else f"{100 * value:+.0f} points"


def verdicts(rows: dict[str, Any]) -> str:
    """Return a line for every flag, and one that says how many there are."""
    lines = [
        f"FLAGGED {name}: {x['group']} loses {_amount(x['loss'], x['measure'])} of {x['measure']}, "
        f"{_amount(x['excess'], x['measure'])} beyond the average, noise {_amount(x['noise'], x['measure'])}"
        for name, row in rows.items() for x in row["losses"] if x["flagged"]
    ]  # fmt: skip
    return "\n".join([*lines, f"{len(lines)} flags on {len(rows) - 1} shortcuts"])
