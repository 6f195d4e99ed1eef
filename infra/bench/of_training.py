"""Diffusion training: our loop against the loop of diffusers' own training examples, on one core or one GPU.

The network, the space, batch, precision, optimiser's family, clipping and time steps are the same on every side. Theirs
is written here in our words after train_unconditional.py and train_text_to_image.py: a DataLoader with no workers,
accelerate's prepare, AdamW as it comes, EMAModel, a learning rate scheduler. One rival decodes its PNGs as those
examples do; the strict one has normalised tensors in memory. Neither draws a progress bar. Ours is `fit` as a build
calls it, with fairness parts and turned pictures, which the rivals do without.

The floor is the network's forward and backward pass alone, once with torch's fused attention (theirs, and diffusers'
default) and once with the plain products that our recipe chooses on CPU in bf16. CPU time, sides in turn, medians; on a GPU
the time on the clock, with larger batches, and both floors are one.
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pipelines.generators.diffusion import SCHEDULE, TRAIN_STEPS, DiffusionRecipe
from pipelines.generators.interface import Condition
from pipelines.generators.precision import quick_precision
from pipelines.phantoms.scene import draw
from pipelines.train.averages import TRACKED
from pipelines.train.base import base_source
from pipelines.train.data import TrainingSet, training_set
from pipelines.train.fairness import attach_fairness
from pipelines.train.loop import Budget, accelerated, fit
from pipelines.train.run import start_from
from schemas.train_params import DiffusionParams, FairnessParams
from schemas.words import Modality

GPU = torch.cuda.is_available()
IMAGES, HELD_OUT, BATCH, RATE = 480, 96, 256 if GPU else 48, 2e-4
WARM, STEPS = (10, 30) if GPU else (3, 7)
"""Steps before the clock starts (memory is claimed in the first ones), and steps on the clock."""

PRECISION = quick_precision()


@dataclass
class Side:
    """One way to train, and what it took: seconds a step, of CPU or GPU, one value a repeat."""

    run: Callable[[], float]
    seconds: list[float] = field(default_factory=list)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return images a second of every side, our ratio to both rivals, and the network's share of each side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    data, held_out = _phantoms(0, IMAGES), _phantoms(IMAGES, HELD_OUT)
    sides = {
        "ours": Side(lambda: _ours(data, held_out)),
        "diffusers_png": Side(lambda: _theirs(data, PngPictures(data))),
        "diffusers_tensors": Side(lambda: _theirs(data, TensorDataset(_signed(data.pixels), data.codes))),
        "network_plain_attention": Side(lambda: _network(data, fused_attention=False)),
        "network_fused_attention": Side(lambda: _network(data, fused_attention=True)),
    }
    for turn in range(args.repeats):
        order = list(sides.values())
        for side in order if turn % 2 == 0 else order[::-1]:
            side.seconds.append(side.run())
    torch.set_num_threads(threads)
    rates = {name: BATCH / statistics.median(side.seconds) for name, side in sides.items()}
    return {
        "batch": BATCH, "resolution": data.resolution, "precision": PRECISION, "threads": 1,
        "device": torch.cuda.get_device_name() if GPU else "cpu",
        "images_per_gpu_s" if GPU else "images_per_cpu_s": rates,
        "ratio_to_diffusers_png": _ratio(sides["diffusers_png"], sides["ours"]),
        "ratio_to_diffusers_tensors": _ratio(sides["diffusers_tensors"], sides["ours"]),
        "network_share_of_ours": _ratio(sides["network_plain_attention"], sides["ours"]),
        "network_share_of_diffusers_tensors": _ratio(sides["network_fused_attention"], sides["diffusers_tensors"]),
        "attention_alone": _ratio(sides["network_fused_attention"], sides["network_plain_attention"]),
    }  # fmt: skip


def _now() -> float:
    if not GPU:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _ratio(one: Side, other: Side) -> float:
    return statistics.median(a / b for a, b in zip(one.seconds, other.seconds, strict=True))


def _phantoms(start: int, count: int) -> TrainingSet:
    drawn = [draw(base_source(start + count), start + i) for i in range(count)]
    conditions = [Condition(Modality.PHANTOM, p.fst, p.lesion, p.ita_deg) for p in drawn]
    return training_set(np.stack([p.pixels for p in drawn]), conditions, 0.5, "bench")


def _recipe(data: TrainingSet) -> DiffusionRecipe:
    torch.manual_seed(0)
    # diffusers' loop trains no second network
    recipe = DiffusionRecipe(DiffusionParams(mixed_precision=PRECISION, guiding=False), data.resolution)
    start_from(recipe, data, "base")
    return recipe


def _ours(data: TrainingSet, held_out: TrainingSet) -> float:
    """Train with `fit` and return seconds a step."""
    recipe, clock = _recipe(data), []
    attach_fairness(recipe, FairnessParams(), data, held_out, 0)
    every = WARM + STEPS
    budget = Budget(every * BATCH, BATCH, RATE, 0, TRACKED[-1], 1, every * BATCH)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            recipe, data, budget, seed=0, key="bench", state=Path(folder), mixed_precision=PRECISION,
            on_log=lambda _: clock.append(_now()), on_save=lambda _: None,
        )  # fmt: skip
    return (clock[-1] - clock[WARM - 1]) / STEPS


class PngPictures(Dataset[Any]):
    """Pictures as PNG files, each decoded, flipped at random and normalised when it is asked for."""

    def __init__(self, data: TrainingSet) -> None:
        self.codes = data.codes
        self.files = []
        for pixels in data.pixels.numpy():
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, format="PNG")
            self.files.append(file.getvalue())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(self.files[index])).convert("RGB")))
        picture = _signed(pixels[None])[0]
        return picture.flip(2) if torch.rand(()) < 0.5 else picture, self.codes[index]


def _signed(pixels: Tensor) -> Tensor:
    """Return uint8 pixels (n, r, r, 3) as the examples' transforms do: float32 (n, 3, r, r), -1 to 1."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def _theirs(data: TrainingSet, pictures: Dataset[Any]) -> float:
    """Train as diffusers' examples do and return seconds a step."""
    recipe = _recipe(data)
    network, space = recipe.net["denoiser"], recipe.space
    network.unet.set_attn_processor(AttnProcessor2_0())  # diffusers' default
    accelerator = Accelerator(mixed_precision=PRECISION, cpu=not GPU)
    space.to(accelerator.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.95, 0.999), weight_decay=1e-6)
    scheduler = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=10_000)
    loader = DataLoader(pictures, batch_size=BATCH, shuffle=True, num_workers=0)
    model, optimizer, loader, scheduler = accelerator.prepare(network, optimizer, loader, scheduler)
    ema = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True, power=3 / 4)
    noiser: Any = DDPMScheduler(**SCHEDULE)
    clock = []
    for pictures_now, codes in itertools.islice(_endless(loader), WARM + STEPS):
        # contiguous: as their own pictures and latents are
        clean = space.encode(((pictures_now + 1) * 127.5).permute(0, 2, 3, 1)).contiguous()
        noise = torch.randn_like(clean)
        time_steps = torch.randint(0, TRAIN_STEPS, (len(clean),), device=clean.device)
        noisy = noiser.add_noise(clean, noise, time_steps)
        with accelerator.accumulate(model):
            predicted = model(noisy, time_steps, codes)
            loss = nn.functional.mse_loss(predicted.float(), noiser.get_velocity(clean, noise, time_steps))
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        ema.step(network.parameters())
        accelerator.log({"loss": loss.detach().item(), "lr": scheduler.get_last_lr()[0]}, step=len(clock))
        clock.append(_now())
    return (clock[-1] - clock[WARM - 1]) / STEPS


def _endless(loader: Sequence[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _network(data: TrainingSet, *, fused_attention: bool) -> float:
    """Return seconds of the network's forward and backward pass on one batch, with nothing around them."""
    recipe = _recipe(data)
    network = recipe.net["denoiser"]
    if fused_attention:
        network.unet.set_attn_processor(AttnProcessor2_0())
    accelerator, clock = accelerated(PRECISION), []
    recipe.net.to(here := accelerator.device)
    noisy, codes = recipe.space.encode(data.pixels[:BATCH].to(here)).contiguous(), data.codes[:BATCH].to(here)
    target, time_steps = torch.randn_like(noisy), torch.randint(0, TRAIN_STEPS, (BATCH,), device=here)
    for _ in range(WARM + STEPS):
        with accelerator.autocast():
            predicted = network(noisy, time_steps, codes)
        nn.functional.mse_loss(predicted.float(), target).backward()
        network.zero_grad(set_to_none=True)
        clock.append(_now())
    return (clock[-1] - clock[WARM - 1]) / STEPS
