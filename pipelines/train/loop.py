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
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(p, lr=budget.learning_rate, betas=budget.betas, weight_decay=0.0)
        for p in recipe.parameter_groups()
    ]
    run.step, run.log = load_state(state, key, net, run.average, optimisers)
    wrapped = {
        name: accelerator.prepare(child)
        for name, child in net.named_children()
        if any(True for _ in child.parameters())
    }
    global_batch = budget.batch * accelerator.num_processes
    total, since_save, clock = -(-budget.images // global_batch), 0, time.monotonic()
    logged = run.step
    while run.step < total:
        _set_rate(optimisers, budget, run.step * global_batch)
        losses = recipe.step(_step(data, budget, seed, run.step, accelerator, optimisers, wrapped))
        run.step += 1
        run.images = run.step * global_batch
        _average(run.average, net, global_batch, run.images, budget.ema_halflife_images)
        if not all(np.isfinite(v) for v in losses.values()):
            raise CheckFailed(
                f"train {recipe.name}: losses {losses} at step {run.step}; lower train.{recipe.name}.learning_rate"
            )
        if run.step % budget.log_every == 0 or run.step == total:
            now = time.monotonic()
            rate = (run.step - logged) * global_batch / max(now - clock, 1e-9)
            row = {"step": run.step, "images": run.images, **losses}
            run.log.append(row)
            on_log({**row, "images_per_s": rate, "seconds_left": (total - run.step) * global_batch / rate})
            logged, clock = run.step, now
        since_save += global_batch
        if since_save >= budget.save_every_images and run.step < total and accelerator.is_main_process:
            since_save = 0
            save_state(state, key, run.step, net, run.average, optimisers, run.log)
            on_save(run)
    run.images = run.step * global_batch
    return run


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
