"""Make the phantom base that every build starts from: `python -m pipelines.train.base diffusion --help`.

Run rarely. It draws phantoms balanced over FST x lesion (no patient, no licence), trains one generator on them from
scratch, and writes float16 weights, config, loss log and sheets to pipelines/generators/base/<generator>/. A base has
seen every stratum of the phantoms: an experiment on phantoms that starts from it is not an experiment about scarcity.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipelines.generators.checkpoint import save_checkpoint
from pipelines.generators.interface import Condition, Recipe
from pipelines.generators.registry import BASE, entry
from pipelines.generators.space import Space
from pipelines.phantoms.scene import VERSION, draw
from pipelines.train.card import write_base_card
from pipelines.train.data import TrainingSet, training_set
from pipelines.train.loop import Budget, Run, fit
from pipelines.train.sheets import draw_sheet, exported, sheet_conditions, snapshot_sheet
from schemas.source_params import PhantomSource
from schemas.table import write_table
from schemas.train_params import TrainParams
from schemas.words import Lesion, Modality

SEED = 1_000_003
RESOLUTION = 64
USUAL = {
    "diffusion": {"images": 200_000, "batch": 64, "rate": 6e-4, "halflife": 10_000},
    "gan": {"images": 76_800, "batch": 24, "rate": 2e-4, "halflife": 5_000},
    "dcgan": {"images": 200_000, "batch": 32, "rate": 2e-4, "halflife": 5_000},
    "stylegan2": {"images": 200_000, "batch": 8, "rate": 6e-3, "halflife": 2_500},
}
"""What the shipped bases (diffusion, gan) were made with; for the others, a place to start."""

LESIONS = (Lesion.NEVUS, Lesion.MELANOMA, Lesion.BASAL_CELL_CARCINOMA, Lesion.SEBORRHOEIC_KERATOSIS)


def base_source(count: int) -> PhantomSource:
    """Return the phantoms a base learns from: every FST and lesion alike, seeds no build uses by default."""
    sixth = 1 / 6
    return PhantomSource(
        count=count, seed=SEED, resolution=RESOLUTION, fst_shares=(sixth,) * 5 + (1 - 5 * sixth,),
        lesion_shares=dict.fromkeys(LESIONS, 0.25),
    )  # fmt: skip


def _one(task: tuple[PhantomSource, int]) -> tuple[NDArray[np.uint8], int, int, float]:
    phantom = draw(*task)
    return phantom.pixels, phantom.fst, LESIONS.index(phantom.lesion), phantom.ita_deg


def base_phantoms(count: int, workers: int, cache: Path | None) -> TrainingSet:
    """Return `count` phantoms as a training set, drawn by `workers` processes or read from `cache` if it exists."""
    if cache is not None and cache.is_file():
        stored = np.load(cache)
        pixels, fst, lesion, ita = (stored[k] for k in ("px", "fst", "lesion", "ita"))
    else:
        source = base_source(count)
        with ProcessPoolExecutor(workers) as pool:
            drawn = list(pool.map(_one, ((source, i) for i in range(count)), chunksize=100))
        pixels = np.stack([d[0] for d in drawn])
        fst, lesion, ita = (np.array([d[k] for d in drawn]) for k in (1, 2, 3))
        if cache is not None:
            np.savez(cache, px=pixels, fst=fst, lesion=lesion, ita=ita)
    conditions = [
        Condition(Modality.PHANTOM, int(f), LESIONS[int(k)], float(a)) for f, k, a in zip(fst, lesion, ita, strict=True)
    ]
    return training_set(pixels, conditions, 0.0, f"phantoms v{VERSION} seed {SEED} n {len(pixels)}")


def make_recipe(name: str, data: TrainingSet) -> Recipe:
    """Return an untrained recipe whose space is fitted to the phantoms."""
    recipe = entry(name).recipe(getattr(TrainParams(), name), RESOLUTION)
    for module in recipe.net.modules():
        if isinstance(module, Space):
            module.fit(data.pixels[:4000], recipe.whitening)
    return recipe


def train_base(name: str, data: TrainingSet, args: argparse.Namespace, folder: Path) -> None:
    """Train and write one base."""
    torch.manual_seed(SEED)
    recipe = make_recipe(name, data)
    gan = name != "diffusion"
    betas = (0.0, 0.99) if gan else (0.9, 0.99)
    budget = Budget(args.images, args.batch, args.rate, 2000, args.halflife, 50, args.save_every, betas)
    conditions = sheet_conditions(data)

    def log(row: object) -> None:
        print(json.dumps(row), file=sys.stderr, flush=True)

    def saved(run: Run) -> None:
        snapshot_sheet(recipe, run.average, conditions, run.images, folder)

    key = f"{data.digest} {name} {args.batch} {args.rate}"  # not the budget: a base may be trained longer
    run = fit(
        recipe, data, budget, seed=SEED, key=key, state=folder / "state", mixed_precision="no" if gan else "bf16",
        on_log=log, on_save=saved,
    )  # fmt: skip
    write_base(recipe, run, data, args, folder)


def write_base(recipe: Recipe, run: Run, data: TrainingSet, args: argparse.Namespace, folder: Path) -> None:
    """Write weights, what is dropped after training but needed to go on, the loss log, a sheet and the card."""
    about = {
        **recipe.config(), "images": run.images, "batch": args.batch, "learning_rate": args.rate,
        "ema_halflife_images": args.halflife, "seed": SEED, "phantoms": len(data.conditions),
        "phantom_version": VERSION, "modality": "phantom", "lesions": list(LESIONS), "licence": "Apache-2.0",
        "parameters": sum(p.numel() for p in exported(recipe, run.average).parameters()),
    }  # fmt: skip
    digest = save_checkpoint(exported(recipe, run.average), about, folder)
    if rest := {n: c for n, c in run.recipe.net.named_children() if n not in recipe.exported}:
        save_checkpoint(torch.nn.ModuleDict(rest), {"generator": f"{recipe.name}-rest"}, folder / "rest")
    write_table(pa.Table.from_pylist(run.log), folder / "losses.parquet")
    draw_sheet(folder, sheet_conditions(data), f"{recipe.name} base, {run.images:,} images seen", folder / "sheet.png")
    write_base_card({**about, "sha256": digest}, run.log, folder / "card.md")
    for scratch in ("snapshot", "state", "sheets"):
        shutil.rmtree(folder / scratch, ignore_errors=True)
    print(json.dumps({"folder": folder.name, "sha256": digest, **about}))


def main() -> None:
    """Parse the command line and train one base."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"Unless told otherwise: {USUAL}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("generator", choices=list(USUAL))
    parser.add_argument("--phantoms", type=int, default=24_000, help="phantoms to draw (default %(default)s)")
    parser.add_argument("--images", type=int, help="images seen in training")
    parser.add_argument("--batch", type=int, help="images a step")
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--halflife", type=float, help="of the weight average, in images")
    parser.add_argument("--save-every", type=int, default=20_000, help="images between states (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw phantoms (default %(default)s)")
    parser.add_argument("--cache", type=Path, help="keep the drawn phantoms in this .npz")
    parser.add_argument("--out", type=Path, default=BASE, help="folder of the bases (default: the shipped ones)")
    args = parser.parse_args()
    for option, usual in USUAL[args.generator].items():
        if getattr(args, option) is None:
            setattr(args, option, usual)
    data = base_phantoms(args.phantoms, args.workers, args.cache)
    train_base(args.generator, data, args, args.out / args.generator)


if __name__ == "__main__":
    main()
