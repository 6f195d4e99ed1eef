"""Train one generator on the workspace's training split and leave a checkpoint with its log, sheets and card."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor, nn

from pipelines.generators.checkpoint import CONFIG, Checkpoint, load_checkpoint
from pipelines.generators.conditioning import Conditioner
from pipelines.generators.deepen import deepened
from pipelines.generators.denoiser import SHALLOW
from pipelines.generators.interface import Recipe
from pipelines.generators.latent import Latent
from pipelines.generators.precision import settled
from pipelines.generators.registry import BASE, entry
from pipelines.generators.space import Space
from pipelines.imaging.spectral import BLOCK
from pipelines.train.averages import TRACKED
from pipelines.train.choice import choose_length
from pipelines.train.content import content_key, finished, judged, sampler_of
from pipelines.train.data import TrainingSet, load_training_set, load_validation_set
from pipelines.train.fairness import attach_fairness
from pipelines.train.loop import Budget, fit
from pipelines.train.memory import memory_explained
from pipelines.train.observer import Observer, Progress
from pipelines.train.outputs import describe, read_result, renew_outputs, write_outputs
from pipelines.train.round_trip import check_round_trip
from schemas.errors import CheckFailed, CheckpointError, ParamsError
from schemas.params import Params, SamplerParams
from schemas.paths import Workspace
from schemas.train_params import DiffusionParams, GeneratorParams, StableDiffusionParams
from schemas.words import Lesion, Modality

"""The params of one generator."""


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind."""

    generator: str
    folder: Path
    checkpoint_sha256: str
    images: int
    training_images: int
    start: str
    reused: bool


def train_generator(
    name: str, workspace: Workspace, params: Params, on_progress: Progress = lambda _: None
) -> TrainResult:
    """Train `name` to its budget; a finished run with the same content is kept, a killed one goes on where it was.

    Raises:
        ParamsError: there is no such generator.
        CheckpointError: `start: base` and the base does not fit the resolution, or is missing or damaged.
        CheckFailed: the training split is empty, too uniform or has one image, the training had to be stopped, or an
            autoencoder gives back dark skin worse than light.
    """
    make, params = entry(name).recipe, settled(params)
    own: GeneratorParams = getattr(params.train, name)
    data = load_training_set(workspace, params.train.resample_power, params.train.max_repeats)
    check_variety(data)
    held_out = load_validation_set(workspace)
    if data.resolution % (4 * BLOCK):
        raise ParamsError(
            f"ingest.resolution: got {data.resolution} px; {name} needs a multiple of {4 * BLOCK}; use 64"
        )
    folder, key = workspace.model(name), content_key(name, params, own, data, held_out)
    if (done := finished(name, folder, key)) is not None:
        if PartialState().is_main_process:
            renew_outputs(folder, done, workspace)
        return TrainResult(name, folder, done["sha256"], done["images"], len(data.conditions), own.start, True)
    torch.manual_seed(params.train.seed)
    recipe = make(own, data.resolution)
    start_from(recipe, data, own.start)
    _check_autoencoder(recipe, own, workspace, folder)
    fair = own.fairness if isinstance(own, DiffusionParams) else None
    probe = attach_fairness(recipe, fair, data, held_out, params.train.seed) if fair else None
    sampler = sampler_of(own, params) or SamplerParams()
    observer = Observer(recipe, data, held_out, own.watch, folder, on_progress, judged(own), sampler)
    with memory_explained(name, own.batch, data.resolution, _remedies(own)):
        run = fit(
            recipe, data, _budget(own), seed=params.train.seed, key=key, state=folder / "state",
            mixed_precision=own.mixed_precision, on_log=on_progress, on_save=observer.saved, watch=own.watch,
        )  # fmt: skip
    everyone = PartialState()
    if everyone.is_main_process:
        if own.ema.length == "auto":
            choose_length(run, own.ema.candidates, observer)
        about = {**describe(recipe, run, params, data, key, workspace), "tone_probe": probe.plain() if probe else None}
        write_outputs(recipe, run, observer, about, workspace)
    everyone.wait_for_everyone()
    digest = str(read_result(folder)["sha256"])
    return TrainResult(name, folder, digest, run.images, len(data.conditions), own.start, False)


def start_from(recipe: Recipe, data: TrainingSet, start: str) -> None:
    """Give an untrained recipe its first weights: the shipped base's, or random ones with the data's scale. What
    started from a pretrained model has them already.

    Raises:
        CheckpointError: the base is missing, damaged, or of another resolution.
    """
    if start == "pretrained":
        return
    if start == "scratch":
        for module in recipe.net.modules():
            if isinstance(module, Space):
                module.fit(data.pixels[:4000], recipe.whitening)
        return
    folder = BASE / recipe.name
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"train.{recipe.name}.start: base, but no base of {recipe.name} is shipped; set it to scratch, or make one with "
            f"`python -m pipelines.train.base {recipe.name}`"
        )
    checkpoint = load_checkpoint(folder, recipe.name)
    if checkpoint.config["resolution"] != data.resolution:
        raise CheckpointError(
            f"base {recipe.name}: made at {checkpoint.config['resolution']} px, the catalog is at {data.resolution} px; "
            f"set ingest.resolution to {checkpoint.config['resolution']} or train.{recipe.name}.start to scratch"
        )
    if "guiding" in recipe.exported and not checkpoint.config.get("guiding_widths"):
        raise CheckpointError(
            f"base {recipe.name}: has no guiding network, which train.{recipe.name}.guiding needs; set that to false, or give "
            f"the base one with `python -m pipelines.train.base_guiding {folder}`"
        )
    go_on_from(recipe, checkpoint, folder)
    for module in recipe.net.modules():
        if isinstance(module, Conditioner):
            module.adopt(Modality.PHANTOM, [Lesion(x) for x in checkpoint.config["lesions"]])


def go_on_from(recipe: Recipe, checkpoint: Checkpoint, folder: Path, fresh: Collection[str] = ()) -> None:
    """Give a recipe the weights of the base in `folder`, also those that only training needs. Networks that the recipe does
    not have stay out; layers that the base's denoiser does not have begin as the identity.

    Args:
        fresh: exported networks that keep the recipe's own weights, whatever the base has.

    Raises:
        CheckpointError: what only training needs is missing or damaged, or the base has more layers than this version.
    """
    taken = [n for n in recipe.exported if n not in fresh]
    wanted = {k: v for k, v in checkpoint.tensors.items() if k.split(".")[0] in taken}
    if "denoiser" in taken:
        wanted |= _denoiser_of(recipe, checkpoint, wanted)
    replace(checkpoint, tensors=wanted).load_into(nn.ModuleDict({n: recipe.net.get_submodule(n) for n in taken}))
    if rest := {n: c for n, c in recipe.net.named_children() if n not in recipe.exported}:
        load_checkpoint(folder / "rest", f"{recipe.name}-rest").load_into(nn.ModuleDict(rest))


def _denoiser_of(recipe: Recipe, checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint's denoiser for the recipe's, which may have more layers."""
    before, unet = checkpoint.config.get("layers", SHALLOW), recipe.net.get_submodule("denoiser.unet")
    own = {k: tensors.pop(k) for k in list(tensors) if k.startswith("denoiser.")}
    try:
        return deepened(unet, own, before)
    except ValueError as error:
        raise CheckpointError(
            f"{checkpoint.folder}: {error}; train it again, or use the version it was made by"
        ) from None


def check_variety(data: TrainingSet) -> None:
    """Raise CheckFailed if there is nothing to tell apart: one image, or one lesion."""
    n, lesions = len(data.conditions), sorted({c.lesion.value for c in data.conditions})
    if n < 2 or len(lesions) < 2:
        raise CheckFailed(
            f"train: {n} images of {', '.join(lesions)} in the train split; a generator learns lesions from each other, so "
            "2 images of 2 lesions are the least; add a source or map its labels to more lesions"
        )


def _check_autoencoder(recipe: Recipe, own: GeneratorParams, workspace: Workspace, folder: Path) -> None:
    """Measure what a recipe's autoencoder does to skin, if it works through one; raises CheckFailed at a gap."""
    space = getattr(recipe, "space", None)
    if isinstance(space, Latent) and isinstance(own, DiffusionParams | StableDiffusionParams):
        here = PartialState()
        check_round_trip(recipe.name, space.to(here.device), workspace, own.round_trip, folder, here.is_main_process)


def _remedies(own: GeneratorParams) -> str:
    if isinstance(own, DiffusionParams | StableDiffusionParams):
        return "lower batch, raise accumulate, set gradient_checkpointing: true, or lower ingest.resolution"
    return "lower batch or ingest.resolution"


def _budget(own: GeneratorParams) -> Budget:
    warmup = own.warmup_images if isinstance(own, DiffusionParams | StableDiffusionParams) else None
    return Budget(
        own.images, own.batch, own.learning_rate, warmup or 0,
        _length(own), own.log_every, own.sheet_every_images, betas=(0.0, 0.99) if warmup is None else (0.9, 0.99),
        optimizer=own.optimizer if isinstance(own, DiffusionParams) else "adamw",
    )  # fmt: skip


def _length(own: GeneratorParams) -> float:
    """Return the length of the average that is looked at while the run goes on."""
    return TRACKED[-1] if own.ema.length == "auto" else own.ema.length
