"""Let a diffusion base unlearn what gives its own samples away: `python -m pipelines.train.base_discriminative FOLDER --help`.

The step after `python -m pipelines.train.base_guiding`. It draws samples with the default sampler, trains the denoiser to tell
them from phantoms (pipelines/generators/discriminative.py) and writes the base again. Rounds follow each other: each is a run
of this, from the base of the last one. The guiding network stays bit for bit.

The cells that are worst drawn get most of the samples: `--fst-shares` and `--lesion-shares`, which phantoms have too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.generators.checkpoint import Checkpoint, load_checkpoint
from pipelines.generators.discriminative import AS_SAMPLED, LEAST_WEIGHT, LOUDEST, SHARPNESS, DiscriminativeRecipe
from pipelines.generators.interface import Condition
from pipelines.generators.registry import load_generator
from pipelines.train.base import LESIONS, RESOLUTION, SEED, base_phantoms
from pipelines.train.base_guiding import write_again
from pipelines.train.data import TrainingSet, training_set
from pipelines.train.loop import Budget, fit
from pipelines.train.run import go_on_from
from pipelines.train.sheets import exported
from schemas.params import SamplerParams
from schemas.train_params import TrainParams

LENGTH = 0.1
"""Of the average of the weights, share of the run."""

BLOCK = 48
"""Samples drawn at once."""


def sample_conditions(
    data: TrainingSet, count: int, fst_shares: list[float], lesion_shares: list[float], seed: int
) -> list[Condition]:
    """Return what `count` samples are asked to show: conditions of phantoms, cells in proportion to both shares' product."""
    weights = np.array([fst_shares[(c.fst or 1) - 1] * lesion_shares[LESIONS.index(c.lesion)] for c in data.conditions])
    chosen = np.random.default_rng(seed).choice(len(weights), count, p=weights / weights.sum())
    return [data.conditions[i] for i in chosen]


def own_samples(folder: Path, conditions: list[Condition], workers: int) -> NDArray[np.uint8]:
    """Return one sample of the base in `folder` for each condition, drawn by `workers` processes."""
    blocks = [(folder, conditions[i : i + BLOCK], i) for i in range(0, len(conditions), BLOCK)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return np.concatenate(list(pool.map(_block, blocks)))


def _block(task: tuple[Path, list[Condition], int]) -> NDArray[np.uint8]:
    folder, conditions, first = task
    torch.set_num_threads(1)
    generator = load_generator(folder, SamplerParams(precision="bfloat16"))
    keys = [
        hashlib.sha256(f"own {generator.checkpoint_sha256} {first + i}".encode()).hexdigest()
        for i in range(len(conditions))
    ]
    return generator.sample(conditions, keys)


def both(data: TrainingSet, own: TrainingSet) -> TrainingSet:
    """Return phantoms and own samples as one training set, half of a batch each and both alike over the cells.

    The groups of own samples follow those of phantoms, cell by cell.
    """
    place = {stratum: i for i, stratum in enumerate(data.strata)}
    of_own = np.array([place[own.strata[g]] for g in own.groups.tolist()])
    asked = np.bincount(of_own, minlength=len(place)) / len(of_own)
    there = np.bincount(data.groups.numpy(), minlength=len(place))
    real = (asked / np.maximum(there, 1))[data.groups.numpy()]
    weights = np.concatenate([real / real.sum(), np.full(len(of_own), 1 / len(of_own))]) / 2
    return replace(
        data, pixels=torch.cat([data.pixels, own.pixels]), codes=torch.cat([data.codes, own.codes]),
        conditions=[*data.conditions, *own.conditions], weights=weights, digest=f"{data.digest} and {own.digest}",
        strata=[*data.strata, *data.strata],
        groups=torch.cat([data.groups, len(place) + torch.from_numpy(of_own)]),
    )  # fmt: skip


def discriminate(start: Path, data: TrainingSet, args: argparse.Namespace, folder: Path) -> None:
    """Train the denoiser of the base in `start` for one round and write the base, with a new sheet and card, to `folder`.

    Raises:
        CheckpointError: there is no diffusion base with a guiding network in `start`, or it is damaged.
    """
    torch.manual_seed(SEED)
    checkpoint = load_checkpoint(start, "diffusion")
    rounds = checkpoint.config.get("discriminative", [])
    seed = SEED + len(rounds)
    asked = sample_conditions(data, args.own, args.fst_shares, args.lesion_shares, seed)
    own = training_set(
        own_samples(start, asked, args.workers), asked, 0.0, f"{args.own} of {checkpoint.sha256} seed {seed}"
    )
    mixed = both(data, own)
    recipe = DiscriminativeRecipe(
        TrainParams().diffusion.model_copy(update={"mixed_precision": "bf16"}), RESOLUTION, len(data.strata)
    )
    go_on_from(recipe, checkpoint, start)
    recipe.hold()
    budget = Budget(
        args.images, args.batch, args.rate, 20 * args.batch, LENGTH, 25, args.save_every, (0.9, 0.99), decay_from=0.5
    )
    run = fit(
        recipe, mixed, budget, seed=seed, key=f"{mixed.digest} {args}", state=folder / "state",
        mixed_precision="bf16", on_log=lambda row: print(json.dumps(row), file=sys.stderr, flush=True),
        on_save=lambda _: None,
    )  # fmt: skip
    this = {
        "images": run.images, "own": args.own, "phantoms": len(data.conditions), "batch": args.batch,
        "learning_rate": args.rate, "optimizer": "adamw", "fst_shares": args.fst_shares,
        "lesion_shares": args.lesion_shares, "sha256": checkpoint.sha256, "sharpness": SHARPNESS,
        "as_sampled": AS_SAMPLED, "loudest": LOUDEST, "least_weight": LEAST_WEIGHT, "taken": args.taken,
    }  # fmt: skip
    about = {**checkpoint.config, "discriminative": [*rounds, this]}
    net = exported(recipe, run.average)
    go_part_of_the_way(net, checkpoint, args.taken)
    digest = write_again(net, about, data, start, folder)
    print(json.dumps({"folder": folder.name, "sha256": digest, "discriminative": this}))


@torch.no_grad()
def go_part_of_the_way(net: nn.Module, start: Checkpoint, share: float) -> None:
    """Move a network's weights back to where `start` has them, but for `share` of the way: a round that overdid it, shortened."""
    for name, weight in net.named_parameters():
        weight.copy_(torch.lerp(start.tensors[name].to(weight), weight, share))


def main() -> None:
    """Parse the command line and train one round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="folder of a diffusion base")
    parser.add_argument("--out", type=Path, help="folder to write to (default: the base's own)")
    parser.add_argument("--phantoms", type=int, default=24_000, help="phantoms to draw (default %(default)s)")
    parser.add_argument("--own", type=int, default=2304, help="samples to draw from the base (default %(default)s)")
    parser.add_argument(
        "--images", type=int, default=11_520, help="images seen, half of them own (default %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=48, help="images a step (default %(default)s)")
    parser.add_argument("--rate", type=float, default=5e-5, help="learning rate (default %(default)s)")
    parser.add_argument(
        "--fst-shares", type=float, nargs=6, default=[1 / 6] * 6, help="of types I to VI (default: alike)"
    )
    parser.add_argument("--lesion-shares", type=float, nargs=4, default=[1 / 4] * 4, help=f"of {', '.join(LESIONS)}")
    parser.add_argument(
        "--taken", type=float, default=1.0, help="share of the way that the weights go (default %(default)s: all)"
    )
    parser.add_argument("--save-every", type=int, default=5760, help="images between states (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw (default %(default)s)")
    parser.add_argument("--cache", type=Path, help="keep the drawn phantoms in this .npz")
    args = parser.parse_args()
    discriminate(args.base, base_phantoms(args.phantoms, args.workers, args.cache), args, args.out or args.base)


if __name__ == "__main__":
    main()
