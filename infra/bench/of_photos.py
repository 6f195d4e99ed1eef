"""What the phantom base brings on real photos: fine-tuned from it against from scratch, the same budget and data.

PAD-UFES-20 (clinical, FST known) and HAM10000 (dermoscopic, no FST) at 64 px with the examples' params, each trained twice
for EQUIDERM_BENCH_IMAGES images (default 16,000). Then each test photo's condition (FST, lesion, ITA) is asked for
equally often and the raw samples are held against the test photos, which no training, probe or choice saw: KID by FST, by
lesion, and pooled over strata of few and of many training photos; and the ITA asked for against the ITA measured. One
seed each: what differs by less than the spread over halves says nothing. About 25 minutes on one core. Sheets are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pipelines.dedupe.find import find_duplicates
from pipelines.embedding.distance import kid
from pipelines.embedding.extractor import default_extractor
from pipelines.generators.interface import Condition
from pipelines.generators.registry import load_generator
from pipelines.imaging.tone import measure_ita
from pipelines.ingest.plan import plan_shards
from pipelines.ingest.settle import settle_catalog
from pipelines.ingest.shard import ingest_shard
from pipelines.stratify.strata import stratify
from pipelines.train.data import TrainingSet, load_split, load_training_set, stratum_of
from pipelines.train.run import train_generator
from schemas.params import Params, parse_params
from schemas.paths import Workspace
from schemas.words import FST_ROMAN, Split

IMAGES = int(os.environ.get("EQUIDERM_BENCH_IMAGES", "16000"))
SETS = os.environ.get("EQUIDERM_BENCH_PHOTOS", "pad_ufes_20,ham10000").split(",")
STARTS = {"base": 3e-4, "scratch": 6e-4}
"""Learning rates: the examples' for fine-tuning, the base's own for learning from nothing."""

FEW = 20
"""Training photos of a stratum below which it counts as small (PAD's bound of `supported`)."""

LEAST = 8
"""Test photos a group needs to be told apart."""

PER_PHOTO = 2
HALVES = 30

Rows = dict[str, dict[str, Any]]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return, for each set and start, KID and tone by FST, by lesion, and by how many training photos there were."""
    result: dict[str, Any] = {"images_seen": IMAGES, "learning_rates": STARTS, "extractor": default_extractor().name}
    for name in SETS:
        if not (args.data / name).is_dir():
            result[name] = {"skipped": f"{args.data / name}: no such folder; give --data"}
            continue
        result[name] = _of_set(name, args)
        print(_table(name, result[name]), flush=True)
    return result


def _of_set(name: str, args: argparse.Namespace) -> dict[str, Any]:
    workspace = Workspace((args.out / "photos" / name).resolve())
    workspace.root.mkdir(parents=True, exist_ok=True)
    prepared = _params(name, args.data, "base")
    if not workspace.splits.is_file():
        for shard in plan_shards(workspace, prepared):
            ingest_shard(workspace, prepared, shard)
        settle_catalog(workspace, prepared)
        find_duplicates(workspace, prepared)
        stratify(workspace, prepared)
    trained_on = load_training_set(workspace, 0.0)
    test = load_split(workspace, Split.TEST)
    assert test is not None
    found: dict[str, Any] = {"training_photos": len(trained_on.conditions), "test_photos": len(test.conditions)}
    found["real against real"] = _figures(test, test.pixels.numpy(), test.conditions, trained_on, against_itself=True)
    for start in STARTS:
        params = _params(name, args.data, start)
        train_generator("diffusion", workspace, params, lambda _: None)
        folder = workspace.model("diffusion")
        asked = [c for c in test.conditions for _ in range(PER_PHOTO)]
        keys = [hashlib.sha256(f"photos {i}".encode()).hexdigest() for i in range(len(asked))]
        generator = load_generator(folder, params.produce.sampler)
        made = np.concatenate([generator.sample(asked[i : i + 48], keys[i : i + 48]) for i in range(0, len(keys), 48)])
        found[start] = _figures(test, made, asked, trained_on)
        (folder / "sheets" / "final.png").rename(workspace.root / f"sheet_{start}.png")
    return found


def _params(name: str, data: Path, start: str) -> Params:
    given = yaml.safe_load(Path(f"infra/examples/{name}.yaml").read_text(encoding="utf-8"))
    given["sources"]["use"][name]["path"] = str((data / name).resolve())
    given["train"]["diffusion"] |= {"images": IMAGES, "start": start, "learning_rate": STARTS[start]}
    return parse_params(given, "bench")


def _figures(
    test: TrainingSet, made: NDArray[np.uint8], asked: Sequence[Condition], trained_on: TrainingSet,
    *, against_itself: bool = False,
) -> dict[str, Rows]:  # fmt: skip
    """Return the figures by grouping and group; of the test photos against their own other half if `against_itself`."""
    extract = default_extractor()
    real, drawn = extract(test.pixels.numpy()).astype(np.float64), extract(made).astype(np.float64)
    off = np.array([_tone_error(image, c.ita_deg) for image, c in zip(made, asked, strict=True)])
    counts = Counter(stratum_of(c) for c in trained_on.conditions)
    groupings: dict[str, Callable[[Condition], str]] = {
        "all": lambda _: "all",
        "fst": lambda c: FST_ROMAN[c.fst] if c.fst else "?",
        "lesion": lambda c: str(c.lesion),
        "training photos": lambda c: f"under {FEW}" if counts[stratum_of(c)] < FEW else f"{FEW} or more",
    }
    result: dict[str, Rows] = {}
    for grouping, group_of in groupings.items():
        mine, theirs = (np.array([group_of(c) for c in some]) for some in (asked, test.conditions))
        for group in sorted(set(theirs)):
            a, b = drawn[mine == group], real[theirs == group]
            if len(b) < LEAST:
                continue
            mean, spread = _halves(a, b, against_itself)
            row = {"test_photos": len(b), "kid": mean if against_itself else kid(a, b), "spread": spread}
            tone = np.abs(off[mine == group])
            row |= (
                {}
                if against_itself
                else {"ita_error_deg": float(np.nanmedian(tone)), "ita_unmeasured": float(np.isnan(tone).mean())}
            )
            result.setdefault(grouping, {})[group] = row
    return result


def _halves(a: NDArray[np.float64], b: NDArray[np.float64], against_itself: bool) -> tuple[float, float]:
    """Return mean and standard deviation of KID over random halves; against itself: of one half to the other."""
    rng, found = np.random.default_rng(0), []
    for _ in range(HALVES):
        one, two = rng.permutation(len(a)), rng.permutation(len(b))
        half = b[one[len(b) // 2 :]] if against_itself else b[two[: len(b) // 2]]
        found.append(kid(a[one[: len(a) // 2]], half))
    return float(np.mean(found)), float(np.std(found))


def _tone_error(image: NDArray[np.uint8], asked: float | None) -> float:
    measured = measure_ita(image).deg
    return np.nan if measured is None or asked is None else measured - asked


def _table(name: str, found: dict[str, Any]) -> str:
    lines = [
        f"\n{name}: {found['training_photos']} training and {found['test_photos']} test photos, {IMAGES:,} images seen, KID "
        "x 1000\n",
        "| | test photos | real against real | from the base | from scratch | ITA error, base | ITA error, scratch |",
        "|---|---|---|---|---|---|---|",
    ]
    for grouping, groups in found["base"].items():
        for group, base in groups.items():
            scratch, real = found["scratch"][grouping][group], found["real against real"][grouping][group]
            kids = [f"{1000 * r['kid']:.0f} ± {1000 * r['spread']:.0f}" for r in (real, base, scratch)]
            tones = [f"{r['ita_error_deg']:.1f}" for r in (base, scratch)]
            lines.append(f"| {grouping} {group} | {base['test_photos']} | " + " | ".join([*kids, *tones]) + " |")
    return "\n".join(lines)
