"""The training loop, the same for every generator, one process or many.

Step k's images, augmentations and noise come from (seed, k) alone, so a run that was killed goes on exactly, and two
processes see between them what one would have seen.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from pipelines.generators.draws import step_draws
from pipelines.generators.interface import Losses, Recipe, Step
from pipelines.train.averages import LARGEST_ERROR, TRACKED, Averages, nearest_tracked
from pipelines.train.data import TrainingSet, turned
from pipelines.train.early_stop import Seen, Watch
from pipelines.train.fairness import stratum_losses, worst_stratum
from pipelines.train.optimisers import optimiser, set_rate
from pipelines.train.sharding import prepared
from pipelines.train.snapshots import Snapshots, reach, snapshot_steps
from pipelines.train.stability import check_losses
from pipelines.train.state import Records, load_state, save_state
from schemas.errors import ParamsError
from schemas.train_params import OptimizerName, WatchParams


@dataclass(frozen=True)
class Budget:
    """How long and how a run trains; all counts in images, so that they mean the same at any batch size."""

    images: int
    batch: int  # over all processes
    learning_rate: float
    warmup_images: int
    ema_length: float  # of the averaged weights, share of the run; see averages.py
    log_every: int
    save_every_images: int
    betas: tuple[float, float] = (0.9, 0.99)
    decay_from: float = 0.7  # share of the images after which the learning rate falls linearly to a tenth
    optimizer: OptimizerName = "adamw"


@dataclass
class Run:
    """A run under way: what the loop hands to its observers."""

    recipe: Recipe
    averages: Averages
    average: nn.Module  # what is sampled from: a kept average while it trains, at the end one of the length asked for
    snapshots: Snapshots
    best_step: int = 0  # at the end: the step whose average that is
    step: int = 0
    images: int = 0
    ended: bool = False
    turn: int = 0  # which of the fixed seeds a look draws on; other than 0 asks for its variety alone
    records: Records = field(default_factory=dict)

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the losses logged so far."""
        return self.records.setdefault("log", [])

    @property
    def strata(self) -> list[dict[str, Any]]:
        """Return the losses by stratum and noise level recorded so far."""
        return self.records.setdefault("strata", [])


def fit(
    recipe: Recipe, data: TrainingSet, budget: Budget, *, seed: int, key: str, state: Path, mixed_precision: str,
    on_log: Callable[[Mapping[str, Any]], None], on_save: Callable[[Run], Seen | None], watch: WatchParams = WatchParams(),
) -> Run:  # fmt: skip
    """Train to the budget and return the run; goes on from `state` if it holds one of the same `key`.

    Every process of a launch calls it alike; the first one alone logs, saves and writes.

    Args:
        on_save: called with the run when a state is about to be saved, and at its end; what it saw decides whether the run
            goes on.

    Raises:
        CheckFailed: a loss diverges, or the samples have lost their variety.
        ParamsError: the batch does not divide by the number of processes, or the average's length is out of reach.
    """
    accelerator = accelerated(mixed_precision)
    _check_divides(budget, recipe.name, accelerator)
    total, save_every, keeps = _schedule(budget, recipe.name, watch.patience > 0)
    net = recipe.net.to(accelerator.device)
    averages, snapshots = Averages(net), Snapshots(state / "averages", key, tuple(recipe.exported))
    run = Run(recipe, averages, averages.nearest(budget.ema_length), snapshots)
    watcher = Watch(recipe.name, watch, budget.images)
    wrapped = prepared(recipe, accelerator)  # before the optimisers: sharding replaces parameters
    optimisers = _optimisers(recipe, budget)
    parts = {"net": net, "averages": averages, "watch": watcher}
    run.step, run.records = load_state(state, key, parts, optimisers, accelerator.is_main_process)
    meter = _Meter(run.step)
    while run.step < total and not watcher.stopped:
        set_rate(optimisers, _rate(budget, run.step * budget.batch))
        losses = recipe.step(_step(data, budget, seed, run.step, accelerator, optimisers, wrapped))
        run.step += 1
        run.images = run.step * budget.batch
        averages.update(net, run.step)
        saves = run.step % save_every == 0 and run.step < total
        logs = run.step % budget.log_every == 0 or run.step == total
        if logs or saves:
            losses = _checked(recipe.name, losses, run.step, accelerator)
        if logs:
            run.log.append({"step": run.step, "images": run.images, **losses})
        if logs and accelerator.is_main_process:
            on_log({**run.log[-1], **meter.read(run.step, total, budget.batch), **worst_stratum(net, data.strata)})
        if run.step in keeps and accelerator.is_main_process:
            snapshots.take(averages, run.step)
        if saves:
            run.strata.extend(stratum_losses(net, data.strata, run.images))
            if accelerator.is_main_process:
                _look(run, watcher, on_save)
            save_state(state, key, run.step, parts, optimisers, run.records, accelerator.is_main_process)
            snapshots.drop_others(accelerator.is_main_process)
            watcher.agree(accelerator)
    return _finished(run, watcher, data, budget, accelerator, on_save)


def _schedule(budget: Budget, name: str, judged: bool) -> tuple[int, int, list[int]]:
    """Return the steps of the run, the steps from one state to the next, and the steps whose averages are kept.

    Raises:
        ParamsError: the average asked for cannot be put together from what is kept.
    """
    total, save_every = -(-budget.images // budget.batch), max(1, budget.save_every_images // budget.batch)
    steps = snapshot_steps(total, save_every, judged)
    error = reach(budget.ema_length, steps, total)
    if error > LARGEST_ERROR:
        raise ParamsError(
            f"train.{name}.ema.length: {budget.ema_length:g}; {len(steps)} snapshots make its profile up to {error:.2f}, "
            f"{LARGEST_ERROR:g} is allowed; use {' or '.join(f'{t:g}' for t in TRACKED)}, or lower sheet_every_images"
        )
    return total, save_every, steps


def _optimisers(recipe: Recipe, budget: Budget) -> list[torch.optim.Optimizer]:
    how = budget.learning_rate, budget.betas
    return [optimiser(budget.optimizer, recipe.net, group, *how) for group in recipe.parameter_groups()]


def _finished(
    run: Run, watcher: Watch, data: TrainingSet, budget: Budget, accelerator: Accelerator,
    on_save: Callable[[Run], Seen | None],
) -> Run:  # fmt: skip
    """Close the records, put the best weights' average together and look at the last weights."""
    run.images, run.ended = run.step * budget.batch, True
    if not watcher.stopped:
        run.strata.extend(stratum_losses(run.recipe.net, data.strata, run.images))
    looks = accelerator.is_main_process and not watcher.stopped
    if looks and watcher.params.patience:  # now: these weights may be the best ones
        _last_look(run, watcher, on_save)
    run.best_step = watcher.best_step or run.step
    run.records["watch"] = [watcher.said(budget.batch)]
    run.average = copy.deepcopy(run.average)
    if accelerator.is_main_process:
        averaged(run, budget.ema_length)
    if looks and not watcher.params.patience:  # now: at the very average that is sampled from
        _last_look(run, watcher, on_save)
    return run


def averaged(run: Run, length: float) -> None:
    """Put the average of that length, of a run that has ended, into `run.average` and record it.

    Where the run was stopped so early that its snapshots do not make it up, the kept average of the nearest length.
    """
    steps = run.snapshots.steps(run.best_step)
    if reach(length, steps, run.best_step) > LARGEST_ERROR:
        length = TRACKED[nearest_tracked(length)]
    error = run.snapshots.put_together(length, run.best_step, run.average)
    run.records["average"] = [{"length": length, "step": run.best_step, "profile_error": error}]


def _look(run: Run, watcher: Watch, on_save: Callable[[Run], Seen | None]) -> None:
    """Show the run to its observer, record what was seen and let the watcher judge it."""
    seen = on_save(run)
    if seen is not None:
        seen = replace(seen, kid={}) if run.turn else seen
        run.records.setdefault("looks", []).extend(seen.rows(run.images))
        watcher.look(seen, run.step, run.images)


def _last_look(run: Run, watcher: Watch, on_save: Callable[[Run], Seen | None]) -> None:
    """Look at a run that has ended; where that shows no variety for the first time, again on other seeds.

    While a run goes on the look after the next state says whether one without variety was chance; after the last step there
    is none, and short runs have one state or none.
    """
    _look(run, watcher, on_save)
    if watcher.doubtful:
        run.turn = 1
        _look(run, watcher, on_save)


def accelerated(mixed_precision: str) -> Accelerator:
    """Return this process's Accelerator: alone unless `accelerate launch` set a group up around it.

    Buffers are not sent between processes: the only ones that move are the power iterations of spectral norms, which
    follow from the weights, and sending them in place would spoil a backward pass over two forward passes.
    """
    apart = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Accelerator(mixed_precision=mixed_precision, cpu=not torch.cuda.is_available(), kwargs_handlers=[apart])


def _check_divides(budget: Budget, name: str, accelerator: Accelerator) -> None:
    if budget.batch % accelerator.num_processes:
        raise ParamsError(
            f"train.{name}.batch: {budget.batch} images over {accelerator.num_processes} processes; "
            "every process needs as many; use a multiple"
        )


def _checked(name: str, losses: Losses, step: int, accelerator: Accelerator) -> dict[str, float]:
    """Return each loss's mean over the processes, so that all of them see the same and stop together.

    Only here are losses read: a GPU is waited for at the steps that are logged, not at every one.

    Raises:
        CheckFailed: the training diverges.
    """
    result = {what: float(value) for what, value in losses.items()}
    if accelerator.num_processes > 1:
        mean: Any = accelerator.reduce(torch.tensor(list(result.values()), device=accelerator.device), "mean")
        result = dict(zip(losses, mean.tolist(), strict=True))
    check_losses(name, result, step)
    return result


class _Meter:
    """Images/s since the last reading, and seconds left at that rate."""

    def __init__(self, step: int) -> None:
        self.step, self.clock = step, time.monotonic()

    def read(self, step: int, total: int, batch: int) -> dict[str, float]:
        now = time.monotonic()
        rate = (step - self.step) * batch / max(now - self.clock, 1e-9)
        self.step, self.clock = step, now
        return {"images_per_s": rate, "seconds_left": (total - step) * batch / max(rate, 1e-9)}


def _step(
    data: TrainingSet, budget: Budget, seed: int, number: int, accelerator: Accelerator,
    optimisers: list[torch.optim.Optimizer], wrapped: Mapping[str, nn.Module],
) -> Step:  # fmt: skip
    rank, world = accelerator.process_index, accelerator.num_processes
    mine = data.indices(seed, number, budget.batch)[rank::world]
    draws = step_draws(seed, number, rank, world, accelerator.device)
    pixels, codes, groups, fst = (
        _moved(t[mine], accelerator.device) for t in (data.pixels, data.codes, data.groups, data.fst)
    )
    return Step(turned(pixels, draws), codes, draws, number, accelerator, optimisers, wrapped, groups, fst)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device. To a GPU it is copied from pinned memory, while the processor goes on."""
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _rate(budget: Budget, images: int) -> float:
    """Return the learning rate of the step that begins when so many images have been seen."""
    warm = min(1.0, (images + budget.batch) / budget.warmup_images) if budget.warmup_images else 1.0
    late = max(0.0, images / budget.images - budget.decay_from) / (1 - budget.decay_from)
    return budget.learning_rate * warm * (1 - 0.9 * min(late, 1.0))
