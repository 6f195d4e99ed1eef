"""Let a diffusion base unlearn what gives its own samples away: `python -m pipelines.train.base_discriminative FOLDER --help`.

The step after `python -m pipelines.train.base_guiding`. A round draws samples with the default sampler, as many of every cell,
measures each cell's KID to phantoms that no training sees, trains the denoiser to tell the samples from phantoms
(pipelines/generators/discriminative.py), the worst cells most and the best ones not at all, whose predictions are held, and
writes the base again; the next one starts from there. Of the rounds that make no skin type worse the one whose worst type has
the lowest KID is kept; if there is none, nothing is written. The guiding network stays bit for bit.

With a GPU samples are drawn on it, without one by `--workers` processes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.embedding.extractor import default_extractor
from pipelines.generators.checkpoint import Checkpoint, load_checkpoint
from pipelines.generators.discriminative import AS_SAMPLED, LEAST_WEIGHT, LOUDEST, SHARPNESS, DiscriminativeRecipe
from pipelines.generators.interface import Condition
from pipelines.generators.precision import multiplies_in_bf16, quick_precision
from pipelines.generators.registry import load_generator
from pipelines.train.base import LESIONS, RESOLUTION, SEED, base_judges, base_phantoms
from pipelines.train.base_guiding import write_again
from pipelines.train.cell_quality import CellJudge, best_for_all, marginal_shares, well_drawn, worth
from pipelines.train.data import Stratum, TrainingSet, training_set
from pipelines.train.loop import Budget, fit
from pipelines.train.run import go_on_from
from pipelines.train.sheets import exported
from schemas.params import SamplerParams
from schemas.train_params import TrainParams

LENGTH = 0.1
"""Of the average of the weights, share of the run."""

BLOCK = 48
"""Samples drawn at once; on a GPU `GPU_BLOCK`."""

GPU_BLOCK = 768

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Drawn:
    """What a base draws, of every cell as many, and how far that is from phantoms: KID by cell and by skin type."""

    pixels: Pixels
    conditions: list[Condition]
    of_cell: dict[Stratum, float]
    of_type: dict[int, float]


def sample_conditions(data: TrainingSet, count: int, seed: int) -> list[Condition]:
    """Return what `count` samples are asked to show: conditions of phantoms, every cell in turn."""
    rng = np.random.default_rng(seed)
    cells = [np.flatnonzero(data.groups.numpy() == g) for g in range(len(data.strata))]
    return [data.conditions[int(rng.choice(cells[i % len(cells)]))] for i in range(count)]


def own_samples(folder: Path, conditions: list[Condition], workers: int) -> Pixels:
    """Return one sample of the base in `folder` for each condition, drawn by `workers` processes, or here by a GPU."""
    size = GPU_BLOCK if torch.cuda.is_available() else BLOCK
    blocks = [(folder, conditions[i : i + size], i) for i in range(0, len(conditions), size)]
    if torch.cuda.is_available():
        return np.concatenate([_block(block) for block in blocks])
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return np.concatenate(list(pool.map(_alone, blocks)))


def _alone(task: tuple[Path, list[Condition], int]) -> Pixels:
    torch.set_num_threads(1)
    return _block(task)


def _block(task: tuple[Path, list[Condition], int]) -> Pixels:
    folder, conditions, first = task
    generator = load_generator(folder, SamplerParams(precision="bfloat16" if multiplies_in_bf16() else "float32"))
    keys = [
        hashlib.sha256(f"own {generator.checkpoint_sha256} {first + i}".encode()).hexdigest()
        for i in range(len(conditions))
    ]
    return generator.sample(conditions, keys)


def both(data: TrainingSet, own: TrainingSet, weights: dict[Stratum, float]) -> TrainingSet:
    """Return phantoms and own samples as one training set, half of a batch each and both alike over the cells.

    The groups of own samples follow those of phantoms, cell by cell.

    Args:
        weights: of each cell of `own`, in either half.
    """
    place = {stratum: i for i, stratum in enumerate(data.strata)}
    of_own = np.array([place[own.strata[g]] for g in own.groups.tolist()])
    wanted = np.array([weights.get(stratum, 0.0) for stratum in data.strata])
    halves = []
    for groups in (data.groups.numpy(), of_own):
        of_each = (wanted / np.maximum(np.bincount(groups, minlength=len(place)), 1))[groups]
        halves.append(of_each / of_each.sum() / 2)
    return replace(
        data, pixels=torch.cat([data.pixels, own.pixels]), codes=torch.cat([data.codes, own.codes]),
        conditions=[*data.conditions, *own.conditions], weights=np.concatenate(halves),
        digest=f"{data.digest} and {own.digest}", strata=[*data.strata, *data.strata],
        groups=torch.cat([data.groups, len(place) + torch.from_numpy(of_own)]),
    )  # fmt: skip


def draw_and_judge(folder: Path, data: TrainingSet, judge: CellJudge, args: argparse.Namespace, seed: int) -> Drawn:
    """Return what the base in `folder` draws and its KID."""
    conditions = sample_conditions(data, args.own, seed)
    pixels = own_samples(folder, conditions, args.workers)
    return Drawn(pixels, conditions, *judge(pixels, conditions))


def rounds(start: Path, data: TrainingSet, judges: TrainingSet, args: argparse.Namespace, folder: Path) -> None:
    """Let the base in `start` go through rounds and write the best for all, with a new sheet and card, to `folder`; if any is.

    Raises:
        CheckpointError: there is no diffusion base with a guiding network in `start`, or it is damaged.
    """
    judge = CellJudge(judges, default_extractor())
    now, drawn = start, draw_and_judge(start, data, judge, args, _seed(start))
    kids = [_said(0, drawn)]
    for number in range(1, args.rounds + 1):
        after = folder / f"round-{number}"
        discriminate(now, data, drawn, args, after)
        now, drawn = after, draw_and_judge(after, data, judge, args, _seed(after))
        kids.append(_said(number, drawn))
    best = best_for_all(kids[0], kids[1:])
    if best is None:
        print(
            f"{start}: left as it is; each of {args.rounds} rounds made a skin type worse, or none better",
            file=sys.stderr,
        )
    else:
        for file in (folder / f"round-{best + 1}").iterdir():
            file.replace(folder / file.name)
    for number in range(1, args.rounds + 1):
        shutil.rmtree(folder / f"round-{number}")
    if not any(folder.iterdir()):
        folder.rmdir()


def _seed(folder: Path) -> int:
    return SEED + len(load_checkpoint(folder, "diffusion").config.get("discriminative", []))


def _said(number: int, drawn: Drawn) -> dict[int, float]:
    print(json.dumps({"round": number, "kid": drawn.of_type}), file=sys.stderr, flush=True)
    return drawn.of_type


def discriminate(start: Path, data: TrainingSet, drawn: Drawn, args: argparse.Namespace, folder: Path) -> None:
    """Train the denoiser of the base in `start` for one round against what it draws and write the base to `folder`."""
    torch.manual_seed(SEED)
    checkpoint = load_checkpoint(start, "diffusion")
    done = checkpoint.config.get("discriminative", [])
    own = training_set(drawn.pixels, drawn.conditions, 0.0, f"{args.own} of {checkpoint.sha256} seed {_seed(start)}")
    weights = dict.fromkeys(own.strata, 1.0) | worth(drawn.of_cell)
    mixed, stay = both(data, own, weights), well_drawn(drawn.of_cell)
    recipe = DiscriminativeRecipe(
        TrainParams().diffusion.model_copy(update={"mixed_precision": quick_precision()}), RESOLUTION, len(data.strata),
        [group for group, cell in enumerate(mixed.strata) if cell in stay],
    )  # fmt: skip
    go_on_from(recipe, checkpoint, start)
    recipe.hold()
    budget = Budget(
        args.images, args.batch, args.rate, 20 * args.batch, LENGTH, 25, args.save_every, (0.9, 0.99), decay_from=0.5
    )
    run = fit(
        recipe, mixed, budget, seed=_seed(start), key=f"{mixed.digest} {recipe.params.mixed_precision} {args}",
        state=folder / "state",
        mixed_precision=recipe.params.mixed_precision, on_log=lambda row: print(json.dumps(row), file=sys.stderr, flush=True),
        on_save=lambda _: None,
    )  # fmt: skip
    this = {
        "images": run.images, "phantoms": len(data.conditions), "sha256": checkpoint.sha256,
        "mixed_precision": recipe.params.mixed_precision, **_asked(args), **_seen(drawn, weights, stay),
    }  # fmt: skip
    about = {**checkpoint.config, "discriminative": [*done, this]}
    net = exported(recipe, run.average)
    go_part_of_the_way(net, checkpoint, args.taken)
    digest = write_again(net, about, data, start, folder)
    print(json.dumps({"folder": folder.name, "sha256": digest, "discriminative": this}))


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """Return what a base records of a round: how it was trained."""
    return {
        "own": args.own, "batch": args.batch, "learning_rate": args.rate, "optimizer": "adamw", "taken": args.taken,
        "sharpness": SHARPNESS, "as_sampled": AS_SAMPLED, "loudest": LOUDEST, "least_weight": LEAST_WEIGHT,
    }  # fmt: skip


def _seen(drawn: Drawn, weights: dict[Stratum, float], stay: set[Stratum]) -> dict[str, Any]:
    """Return what a base records of a round: the KID of the samples it learned against, and what that made of the cells."""
    by_fst, by_lesion = marginal_shares(weights, LESIONS)
    kids = {str(fst): kid for fst, kid in drawn.of_type.items()}
    stayed = sorted(f"{fst} {lesion}" for _, fst, lesion in stay)
    return {"fst_shares": by_fst, "lesion_shares": by_lesion, "kid_before": kids, "stayed": stayed}


@torch.no_grad()
def go_part_of_the_way(net: nn.Module, start: Checkpoint, share: float) -> None:
    """Move a network's weights back to where `start` has them, but for `share` of the way: a round that overdid it, shortened."""
    for name, weight in net.named_parameters():
        weight.copy_(torch.lerp(start.tensors[name].to(weight), weight, share))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="folder of a diffusion base")
    parser.add_argument("--out", type=Path, help="folder to write to (default: the base's own)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds (default %(default)s)")
    parser.add_argument("--phantoms", type=int, default=24_000, help="phantoms to learn from (default %(default)s)")
    parser.add_argument("--judges", type=int, default=2304, help="phantoms to judge by (default %(default)s)")
    parser.add_argument("--own", type=int, default=2304, help="samples drawn for a round (default %(default)s)")
    parser.add_argument(
        "--images", type=int, default=11_520, help="images seen in a round, half of them own (default %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=48, help="images a step (default %(default)s)")
    parser.add_argument("--rate", type=float, default=5e-5, help="learning rate (default %(default)s)")
    parser.add_argument(
        "--taken", type=float, default=1.0, help="share of the way that the weights go (default %(default)s: all)"
    )
    parser.add_argument("--save-every", type=int, default=5760, help="images between states (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw (default %(default)s)")
    parser.add_argument("--cache", type=Path, help="keep the drawn phantoms in this .npz")
    args = parser.parse_args()
    data = base_phantoms(args.phantoms, args.workers, args.cache)
    rounds(args.base, data, base_judges(args.judges, args.workers), args, args.out or args.base)


if __name__ == "__main__":
    main()
