"""Make the phantom base that every build starts from: `python -m pipelines.train.base diffusion --help`.

Run rarely. It draws phantoms balanced over FST x lesion (no patient, no licence), trains one generator on them, from
scratch or from a base made before (`--start`), and writes float16 weights, config, loss log and sheets to
pipelines/generators/base/<generator>/. A base has seen every stratum of the phantoms: an experiment on phantoms that
starts from it is not an experiment about scarcity.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipelines.generators.checkpoint import load_checkpoint, save_checkpoint
from pipelines.generators.interface import Condition, Recipe
from pipelines.generators.precision import quick_precision
from pipelines.generators.registry import BASE, entry
from pipelines.generators.space import Space
from pipelines.phantoms.scene import VERSION, draw
from pipelines.train.averages import TRACKED
from pipelines.train.card import write_base_card
from pipelines.train.choice import choose_length
from pipelines.train.data import TrainingSet, training_set
from pipelines.train.fairness import NAME as FAIRNESS
from pipelines.train.fairness import attach_fairness
from pipelines.train.loop import Budget, Run, fit
from pipelines.train.observer import Observer
from pipelines.train.run import go_on_from
from pipelines.train.sheets import draw_sheet, exported, sheet_conditions
from schemas.errors import ParamsError
from schemas.source_params import PhantomSource
from schemas.table import write_table
from schemas.train_params import (
    DiffusionParams,
    FairnessParams,
    GeneratorParams,
    OptimizerName,
    TrainParams,
    WatchParams,
)
from schemas.words import Lesion, Modality

SEED = 1_000_003
HELD_OUT_SEED = 1_000_033
HELD_OUT = 480
RESOLUTION = 64
USUAL: dict[str, dict[str, Any]] = {
    "diffusion": {
        "images": 288_000,
        "batch": 32,
        "rate": 6e-4,
        "length": "auto",
        "optimizer": "muon",
        "save_every": 12_000,
    },
    "gan": {"images": 76_800, "batch": 24, "rate": 2e-4, "length": 0.1, "optimizer": "adamw", "save_every": 20_000},
    "dcgan": {"images": 200_000, "batch": 32, "rate": 2e-4, "length": 0.1, "optimizer": "adamw", "save_every": 20_000},
    "stylegan2": {
        "images": 200_000,
        "batch": 8,
        "rate": 6e-3,
        "length": 0.05,
        "optimizer": "adamw",
        "save_every": 20_000,
    },
}
"""What the shipped diffusion base was first made with. It was then made again from itself, `--start` with it and
`--phantoms 48000 --images 264000 --decay-from 0.2`, then, deeper, with `--phantoms 96000 --images 160000 --decay-from 0.2 --length
0.05` (begun for 216,000 images and cut short: docs/log.md), given its guiding network, and put through discriminative rounds, the
first four of them trained by a script before there was a command (docs/decisions/0021). The gan was made with this but for
its average, which was exponential (half-life 5,000 images: see its card); for the others, a place to start."""

_OF_A_TRAINING = ("images", "batch", "learning_rate", "optimizer", "phantoms", "seed")
"""What a base says of each training before its last."""

JUDGED = WatchParams(images=96, least_real=40)
"""The length of a base's average is chosen by KID of 96 samples of each FST to the 80 phantoms of it held out."""

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
    """Return `count` phantoms as a training set, drawn by `workers` processes or read from `cache` if it holds as many.

    Raises:
        ParamsError: `cache` holds another number of phantoms, or those of another version.
    """
    if cache is not None and cache.is_file():
        stored = np.load(cache)
        pixels, fst, lesion, ita = (stored[k] for k in ("px", "fst", "lesion", "ita"))
        if (found := (len(pixels), int(stored["version"]))) != (count, VERSION):
            raise ParamsError(
                f"{cache}: holds {found[0]} phantoms of version {found[1]}, {count} of version {VERSION} are asked for; "
                "name another file or delete it"
            )
    else:
        drawn = _drawn(base_source(count), workers)
        pixels = np.stack([d[0] for d in drawn])
        fst, lesion, ita = (np.array([d[k] for d in drawn]) for k in (1, 2, 3))
        if cache is not None:
            whole = cache.with_name(f".{cache.stem}.partial.npz")
            np.savez(whole, px=pixels, fst=fst, lesion=lesion, ita=ita, version=np.array(VERSION))
            whole.replace(cache)
    return _as_set(list(zip(pixels, fst, lesion, ita, strict=True)), f"phantoms v{VERSION} seed {SEED} n {len(pixels)}")


def _drawn(source: PhantomSource, workers: int) -> list[tuple[NDArray[np.uint8], int, int, float]]:
    tasks = ((source, i) for i in range(source.count))
    if workers == 1:
        return [_one(task) for task in tasks]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_one, tasks, chunksize=24))


def _as_set(drawn: Sequence[tuple[NDArray[np.uint8], int, int, float]], name: str) -> TrainingSet:
    conditions = [Condition(Modality.PHANTOM, int(f), LESIONS[int(k)], float(a)) for _, f, k, a in drawn]
    return training_set(np.stack([pixels for pixels, *_ in drawn]), conditions, 0.0, name)


def base_held_out() -> TrainingSet:
    """Return `HELD_OUT` phantoms no base learns from, every FST and lesion alike: they judge its average and tone probe."""
    return base_judges(HELD_OUT, 1)


def base_judges(count: int, workers: int) -> TrainingSet:
    """Return `count` phantoms no base learns from, every FST and lesion alike, drawn by `workers` processes."""
    source = base_source(count).model_copy(update={"seed": HELD_OUT_SEED})
    return _as_set(_drawn(source, workers), f"held out, seed {HELD_OUT_SEED}")


def own_params(name: str) -> GeneratorParams:
    """Return the params a base is made by. A diffusion base learns alone: its guiding network, which must be weaker, comes
    afterwards and learns for a shorter time (base_guiding.py).
    """
    own: GeneratorParams = getattr(TrainParams(), name)
    if isinstance(own, DiffusionParams):
        return own.model_copy(update={"guiding": False, "mixed_precision": quick_precision()})
    return own


def make_recipe(name: str, data: TrainingSet, start: Path | None) -> tuple[Recipe, list[dict[str, Any]]]:
    """Return a recipe with the weights of the base in `start` and the trainings behind them, first one first; or an
    untrained one whose space is fitted to the phantoms, and none.

    Raises:
        CheckpointError: there is no base of that name in `start`, or it is damaged.
    """
    recipe = entry(name).recipe(own_params(name), RESOLUTION)
    if start is not None:
        checkpoint = load_checkpoint(start, name)
        go_on_from(recipe, checkpoint, start)
        last = {k: checkpoint.config.get(k) for k in _OF_A_TRAINING} | {"sha256": checkpoint.sha256}
        return recipe, [*checkpoint.config.get("before", []), last]
    for module in recipe.net.modules():
        if isinstance(module, Space):
            module.fit(data.pixels[:4000], recipe.whitening)
    return recipe, []


def train_base(name: str, data: TrainingSet, held_out: TrainingSet, args: argparse.Namespace, folder: Path) -> None:
    """Train and write one base."""
    torch.manual_seed(SEED)
    recipe, before = make_recipe(name, data, args.start)
    seed = SEED + len(before)  # other draws than those of the trainings before
    own = own_params(name)
    fairness: dict[str, Any] = {"params": {}}
    if fair := isinstance(own, DiffusionParams):
        asked = own.fairness.model_copy(
            update={"tone": own.fairness.tone.model_copy(update={"weight": args.tone_weight})}
        )
        probe = attach_fairness(recipe, asked, data, held_out, SEED)
        fairness = {"params": {"fairness": asked.model_dump(mode="json")}, "tone_probe": probe.plain()}
    auto = args.length == "auto"
    budget = Budget(
        args.images, args.batch, args.rate, 2000, TRACKED[-1] if auto else args.length, 50, args.save_every,
        (0.9, 0.99) if fair else (0.0, 0.99), decay_from=args.decay_from, optimizer=args.optimizer,
    )  # fmt: skip

    def log(row: object) -> None:
        print(json.dumps(row), file=sys.stderr, flush=True)

    observer = Observer(recipe, data, held_out, JUDGED, folder, log, judged=auto)
    key = (  # not the budget: it may grow
        f"{data.digest} {name} {args.batch} {args.rate} {args.optimizer} {before} {own.mixed_precision} {fairness['params']}"
    )
    run = fit(
        recipe, data, budget, seed=seed, key=key, state=folder / "state", mixed_precision=own.mixed_precision,
        on_log=log, on_save=observer.saved,
    )  # fmt: skip
    if auto:
        choose_length(run, own.ema.candidates, observer)
    write_base(recipe, run, data, args, {**fairness, "seed": seed, "before": before}, folder)


def write_base(
    recipe: Recipe, run: Run, data: TrainingSet, args: argparse.Namespace, known: dict[str, Any], folder: Path
) -> None:
    """Write weights, what is dropped after training but needed to go on, the loss log, a sheet and the card."""
    about = {
        **recipe.config(), "images": run.images, "batch": args.batch, "learning_rate": args.rate,
        "optimizer": args.optimizer, "decay_from": args.decay_from,
        "mixed_precision": own_params(recipe.name).mixed_precision,
        "average": run.records["average"][0], "lengths": run.records.get("lengths", []),
        **known,
        "resample_power": 0.0,  # the phantoms are balanced already
        "max_repeats": None,
        "watch": run.records["watch"][0],
        "phantom_seed": SEED, "phantoms": len(data.conditions),
        "phantom_version": VERSION, "modality": "phantom", "lesions": list(LESIONS), "licence": "Apache-2.0",
        "parameters": sum(p.numel() for p in exported(recipe, run.average).parameters()),
    }  # fmt: skip
    digest = save_checkpoint(exported(recipe, run.average), about, folder)
    left = {n: c for n, c in run.recipe.net.named_children() if n not in (*recipe.exported, FAIRNESS)}
    if left:
        save_checkpoint(torch.nn.ModuleDict(left), {"generator": f"{recipe.name}-rest"}, folder / "rest")
    write_table(pa.Table.from_pylist(run.log), folder / "losses.parquet")
    draw_sheet(folder, sheet_conditions(data), sheet_title(about), folder / "sheet.png")
    write_base_card({**about, "sha256": digest}, run.log, folder / "card.md")
    for scratch in ("snapshot", "state", "sheets"):
        shutil.rmtree(folder / scratch, ignore_errors=True)
    print(json.dumps({"folder": folder.name, "sha256": digest, **about}))


def sheet_title(about: dict[str, Any]) -> str:
    """Return what stands above a base's samples: its name, the images it saw in all its trainings, and its rounds."""
    images = sum(training["images"] for training in [*about.get("before", []), about])
    rounds = len(about.get("discriminative", []))
    return f"{about['generator']} base, {images:,} images seen" + (
        f", {rounds} discriminative rounds" if rounds else ""
    )


def _length(text: str) -> float | str:
    return text if text == "auto" else float(text)


def main() -> None:
    """Parse the command line and train one base."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"Unless told otherwise: {USUAL}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("generator", choices=list(USUAL))
    parser.add_argument("--phantoms", type=int, default=24_000, help="phantoms to draw (default %(default)s)")
    parser.add_argument("--start", type=Path, help="folder of a base to go on from (default: from scratch)")
    parser.add_argument("--images", type=int, help="images seen in training")
    parser.add_argument("--batch", type=int, help="images a step")
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument(
        "--decay-from", type=float, default=Budget.decay_from, help="share of the images after which the rate falls"
    )
    parser.add_argument("--optimizer", choices=get_args(OptimizerName), help="what moves the weights")
    parser.add_argument(
        "--length", type=_length, help="of the weight average, share of the run; auto: chosen at the end"
    )
    parser.add_argument(
        "--tone-weight", type=float, default=FairnessParams().tone.weight,
        help="of the tone term of a diffusion base; 0: none (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--save-every", type=int, help="images between states")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw phantoms (default %(default)s)")
    parser.add_argument("--cache", type=Path, help="keep the drawn phantoms in this .npz")
    parser.add_argument("--out", type=Path, default=BASE, help="folder of the bases (default: the shipped ones)")
    args = parser.parse_args()
    for option, usual in USUAL[args.generator].items():
        if getattr(args, option) is None:
            setattr(args, option, usual)
    data = base_phantoms(args.phantoms, args.workers, args.cache)
    train_base(args.generator, data, base_held_out(), args, args.out / args.generator)


if __name__ == "__main__":
    main()
