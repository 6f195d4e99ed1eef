"""Give a diffusion base that is done a guiding network: `python -m pipelines.train.base_guiding FOLDER --help`.

The step after `python -m pipelines.train.base diffusion`, whose weights stay bit for bit. Autoguidance wants a network that is
weaker in the same way (Karras et al. 2024): this one is smaller and learns for a seventh of the images or less.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import nn

from pipelines.generators.checkpoint import load_checkpoint, save_checkpoint
from pipelines.generators.denoiser import LAYERS, SHALLOW
from pipelines.generators.diffusion import DiffusionRecipe
from pipelines.generators.precision import quick_precision
from pipelines.train.base import RESOLUTION, SEED, base_phantoms, sheet_title
from pipelines.train.card import write_base_card
from pipelines.train.data import TrainingSet
from pipelines.train.loop import Budget, fit
from pipelines.train.run import go_on_from
from pipelines.train.sheets import draw_sheet, exported, sheet_conditions
from schemas.errors import CheckpointError
from schemas.train_params import TrainParams

LENGTH = 0.05
"""Of the average of its weights, share of the run."""

LOSSES = "losses.parquet"


def add_guiding(start: Path, data: TrainingSet, args: argparse.Namespace, folder: Path) -> None:
    """Train a new guiding network beside the base in `start` and write both, with a new sheet and card, to `folder`.

    Raises:
        CheckpointError: there is no diffusion base in `start`, it is damaged, or its denoiser has other layers.
    """
    torch.manual_seed(SEED)
    recipe = DiffusionRecipe(
        TrainParams().diffusion.model_copy(update={"mixed_precision": quick_precision()}), RESOLUTION
    )
    checkpoint = load_checkpoint(start, recipe.name)
    if (layers := checkpoint.config.get("layers", list(SHALLOW))) != list(LAYERS):
        raise CheckpointError(
            f"{start}: its denoiser has {layers} layers, this version's {list(LAYERS)}; train it on first, with "
            f"`python -m pipelines.train.base diffusion --start {start}`"
        )
    go_on_from(recipe, checkpoint, start, fresh=["guiding"])
    recipe.learn_only("guiding")
    budget = Budget(
        args.images, args.batch, args.rate, 2000, LENGTH, 50, args.save_every, (0.9, 0.99), optimizer="muon"
    )
    run = fit(
        recipe, data, budget, seed=SEED, key=f"{data.digest} {checkpoint.sha256} {recipe.params.mixed_precision} {args}",
        state=folder / "state",
        mixed_precision=recipe.params.mixed_precision, on_log=lambda row: print(json.dumps(row), file=sys.stderr, flush=True),
        on_save=lambda _: None,
    )  # fmt: skip
    learned = {"images": run.images, "batch": args.batch, "learning_rate": args.rate, "optimizer": "muon"}
    net = exported(recipe, run.average)
    about = {
        **checkpoint.config, **recipe.config(), "guiding": {**learned, "phantoms": len(data.conditions)},
        "parameters": sum(p.numel() for p in net.parameters()),
    }  # fmt: skip
    digest = write_again(net, about, data, start, folder)
    print(json.dumps({"folder": folder.name, "sha256": digest, "guiding": about["guiding"]}))


def write_again(net: nn.Module, about: dict[str, Any], data: TrainingSet, start: Path, folder: Path) -> str:
    """Write the base in `start`, trained on, to `folder`, with its loss log, a new sheet and card; return its digest.

    The state of the training in `folder` is over with that, and goes.
    """
    digest = save_checkpoint(net, about, folder)
    if folder.resolve() != start.resolve():
        shutil.copy(start / LOSSES, folder / LOSSES)
    draw_sheet(folder, sheet_conditions(data), sheet_title(about), folder / "sheet.png")
    write_base_card({**about, "sha256": digest}, pq.read_table(folder / LOSSES).to_pylist(), folder / "card.md")
    shutil.rmtree(folder / "state")
    return digest


def main() -> None:
    """Parse the command line and train the guiding network of one base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="folder of a diffusion base")
    parser.add_argument("--out", type=Path, help="folder to write to (default: the base's own)")
    parser.add_argument("--phantoms", type=int, default=24_000, help="phantoms to draw (default %(default)s)")
    parser.add_argument("--images", type=int, default=40_000, help="images seen (default %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="images a step (default %(default)s)")
    parser.add_argument("--rate", type=float, default=6e-4, help="learning rate (default %(default)s)")
    parser.add_argument("--save-every", type=int, default=4800, help="images between states (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw phantoms (default %(default)s)")
    parser.add_argument("--cache", type=Path, help="keep the drawn phantoms in this .npz")
    args = parser.parse_args()
    add_guiding(args.base, base_phantoms(args.phantoms, args.workers, args.cache), args, args.out or args.base)


if __name__ == "__main__":
    main()
