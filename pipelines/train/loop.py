"""The training loop, the same for every generator, one process or many.

Step k's images, augmentations and noise come from (seed, k, rank) alone, so a run that was killed goes on exactly.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from pipelines.generators.interface import Recipe, Step
from pipelines.train.data import TrainingSet, turned
from pipelines.train.state import load_state, save_state
from schemas.errors import CheckFailed

EMA_RAMP = 0.09
"""The average's half-life is at most this share of the images seen, so that early weights do not linger (EDM2's ramp)."""


@dataclass(frozen=True)
class Budget:
    """How long and how a run trains; all counts in images, so that they mean the same at any batch size."""

    images: int
    batch: int
    learning_rate: float
    warmup_images: int
    ema_halflife_images: float
    log_every: int
    save_every_images: int
    betas: tuple[float, float] = (0.9, 0.99)
    decay_from: float = 0.7  # share of the images after which the learning rate falls linearly to a tenth


@dataclass
class Run:
    """A run under way: what the loop hands to its observers."""

    recipe: Recipe
    average: nn.Module
    step: int = 0
    images: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


def fit(
    recipe: Recipe, data: TrainingSet, budget: Budget, *, seed: int, key: str, state: Path, mixed_precision: str,
    on_log: Callable[[Mapping[str, Any]], None], on_save: Callable[[Run], None],
) -> Run:  # fmt: skip
    """Train to the budget and return the run; goes on from `state` if it holds one of the same `key`.

    Raises:
        CheckFailed: a loss is not finite.
    """
    accelerator = Accelerator(mixed_precision=mixed_precision, cpu=not torch.cuda.is_available())
    net = recipe.net.to(accelerator.device)
    run = Run(recipe, copy.deepcopy(net).requires_grad_(False))
    groups = recipe.parameter_groups()
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(p, lr=budget.learning_rate, betas=budget.betas, weight_decay=0.0) for p in groups
    ]
    run.step, run.log = load_state(state, key, net, run.average, optimisers)
    trained = {name: child for name, child in net.named_children() if next(child.parameters(), None) is not None}
    wrapped = {name: accelerator.prepare(child) for name, child in trained.items()}
    global_batch = budget.batch * accelerator.num_processes
    total, save_every = -(-budget.images // global_batch), max(1, budget.save_every_images // global_batch)
    meter = _Meter(run.step)
    while run.step < total:
        _set_rate(optimisers, budget, run.step * global_batch)
        losses = recipe.step(_step(data, budget, seed, run.step, accelerator, optimisers, wrapped))
        run.step += 1
        run.images = run.step * global_batch
        _average(run.average, net, global_batch, run.images, budget.ema_halflife_images)
        if run.step % budget.log_every == 0 or run.step == total:
            _check_finite(losses, run)
            run.log.append({"step": run.step, "images": run.images, **losses})
            on_log({**run.log[-1], **meter.read(run.step, total, global_batch)})
        if run.step % save_every == 0 and run.step < total and accelerator.is_main_process:
            _check_finite(losses, run)
            save_state(state, key, run.step, net, run.average, optimisers, run.log)
            on_save(run)
    run.images = run.step * global_batch
    return run


class _Meter:
    """Images/s since the last reading, and seconds left at that rate."""

    def __init__(self, step: int) -> None:
        self.step, self.clock = step, time.monotonic()

    def read(self, step: int, total: int, global_batch: int) -> dict[str, float]:
        now = time.monotonic()
        rate = (step - self.step) * global_batch / max(now - self.clock, 1e-9)
        self.step, self.clock = step, now
        return {"images_per_s": rate, "seconds_left": (total - step) * global_batch / max(rate, 1e-9)}


def _check_finite(losses: Mapping[str, float], run: Run) -> None:
    if all(np.isfinite(v) for v in losses.values()):
        return
    name, said = run.recipe.name, ", ".join(f"{k} {v:g}" for k, v in losses.items())
    raise CheckFailed(
        f"train {name}: {said} at step {run.step}; losses need to be finite; lower train.{name}.learning_rate"
    )


def _step(
    data: TrainingSet, budget: Budget, seed: int, number: int, accelerator: Accelerator,
    optimisers: list[torch.optim.Optimizer], wrapped: Mapping[str, nn.Module],
) -> Step:  # fmt: skip
    chosen = data.indices(seed, number, budget.batch * accelerator.num_processes)
    mine = chosen[accelerator.process_index :: accelerator.num_processes]
    rng = torch.Generator().manual_seed(
        int(np.random.SeedSequence([seed, number, accelerator.process_index]).generate_state(1)[0])
    )
    pixels = turned(data.pixels[mine], rng).to(accelerator.device)
    codes = data.codes[mine].to(accelerator.device)
    return Step(pixels, codes, rng, number, accelerator, optimisers, wrapped)


def _set_rate(optimisers: list[torch.optim.Optimizer], budget: Budget, images: int) -> None:
    warm = min(1.0, (images + budget.batch) / budget.warmup_images) if budget.warmup_images else 1.0
    late = max(0.0, images / budget.images - budget.decay_from) / (1 - budget.decay_from)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = budget.learning_rate * warm * (1 - 0.9 * min(late, 1.0))


@torch.no_grad()
def _average(average: nn.Module, net: nn.Module, batch: int, images: int, halflife: float) -> None:
    """Move the exponential average (float32) towards the weights; its half-life is in images."""
    decay = 0.5 ** (batch / max(min(halflife, images * EMA_RAMP), 1e-8))
    pairs = [(a, p) for a, p in zip(average.parameters(), net.parameters(), strict=True)]
    torch._foreach_lerp_([a for a, _ in pairs], [p for _, p in pairs], 1 - decay)
