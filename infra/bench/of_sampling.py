"""Diffusion sampling: ours against the plain diffusers loop, with the same network, keys and conditions.

Plain: batch 1, 50 DDIM steps, float32, classifier-free guidance at every step. Ours: the default sampler of params.yaml,
in batches. KID of both against the same phantoms drawn by the optical model (embedded extractor), so that speed is not bought with
quality unseen; `kid_spread` is the standard deviation over subsets.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray

from pipelines.embedding.extractor import default_extractor
from pipelines.generators.conditioning import encode, without_lesion
from pipelines.generators.diffusion import SCHEDULE, DiffusionGenerator
from pipelines.generators.interface import Condition, key_noise
from pipelines.generators.registry import BASE
from pipelines.imaging.spectral import BLOCK, PLANES
from pipelines.phantoms.scene import draw
from pipelines.train.base import base_source
from schemas.params import SamplerParams
from schemas.words import Modality

IMAGES = 96
REAL = 960
STEPS = 50
SCALE = 1.5
"""The plain loop's lesion guidance. Ours is autoguidance, which a plain loop does not have."""


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return images/s of both loops, their ratio, and both KIDs."""
    source = base_source(50_000)
    asked = [draw(source, 40_000 + i) for i in range(IMAGES)]
    conditions = [Condition(Modality.PHANTOM, p.fst, p.lesion, p.ita_deg) for p in asked]
    keys = [hashlib.sha256(f"bench {i}".encode()).hexdigest() for i in range(IMAGES)]
    generator = DiffusionGenerator(BASE / "diffusion", SamplerParams())

    def ours(some: slice) -> NDArray[np.uint8]:
        return np.concatenate([generator.sample(c, k) for c, k in _batches(conditions[some], keys[some], 48)])

    def plain(some: slice) -> NDArray[np.uint8]:
        return np.concatenate([_plain(generator, c, k) for c, k in _batches(conditions[some], keys[some], 1)])

    third = IMAGES // args.repeats
    parts = [slice(i * third, (i + 1) * third) for i in range(args.repeats)]
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    made: dict[str, list[NDArray[np.uint8]]] = {"ours": [], "plain": []}
    for part in parts:
        for name, loop in (("ours", ours), ("plain", plain)):
            images, rate = _timed(loop, part, third)
            rates[name].append(rate)
            made[name].append(images)
    real = np.stack([draw(source, 42_000 + i).pixels for i in range(REAL)])
    kid = {name: _kid(np.concatenate(images), real) for name, images in made.items()}
    return {
        "images": IMAGES,
        "ours": {"images_per_s": statistics.median(rates["ours"]), **kid["ours"], "settings": generator.settings},
        "plain": {
            "images_per_s": statistics.median(rates["plain"]),
            **kid["plain"],
            "settings": f"DDIM {STEPS}, batch 1",
        },
        "ratio": statistics.median(a / b for a, b in zip(rates["ours"], rates["plain"], strict=True)),
        "extractor": default_extractor().name,
    }


def _batches(conditions: list[Condition], keys: list[str], size: int) -> list[tuple[list[Condition], list[str]]]:
    return [(conditions[i : i + size], keys[i : i + size]) for i in range(0, len(keys), size)]


def _timed(loop: Callable[[slice], NDArray[np.uint8]], part: slice, n: int) -> tuple[NDArray[np.uint8], float]:
    start = time.perf_counter()
    images = loop(part)
    return images, n / (time.perf_counter() - start)


@torch.inference_mode()
def _plain(generator: DiffusionGenerator, conditions: list[Condition], keys: list[str]) -> NDArray[np.uint8]:
    """Return one image as diffusers' conditional examples do it: DDIM, guidance by a doubled batch at every step."""
    scheduler: Any = DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(STEPS)
    side = generator.resolution // BLOCK
    codes = encode(conditions)
    both = torch.cat([without_lesion(codes), codes])
    state = key_noise(keys, (PLANES, side, side))
    for step in scheduler.timesteps:
        without, with_ = generator._velocity(state.repeat(2, 1, 1, 1), step, both).chunk(2)
        state = scheduler.step(without + SCALE * (with_ - without), step, state).prev_sample
    return np.asarray(generator._space.decode(state).numpy())


def _kid(made: NDArray[np.uint8], real: NDArray[np.uint8]) -> dict[str, float]:
    """Return the unbiased KID (Binkowski et al. 2018; cubic kernel) and its spread over 30 halves of the images."""
    extractor = default_extractor()
    x, y = (torch.from_numpy(extractor(p)).double() for p in (made, real))
    rng = np.random.default_rng(0)
    halves = [
        _mmd(x[rng.choice(len(x), len(x) // 2, replace=False)], y[rng.choice(len(y), len(y) // 2, replace=False)])
        for _ in range(30)
    ]
    return {"kid": _mmd(x, y), "kid_spread": float(np.std(halves))}


def _mmd(x: torch.Tensor, y: torch.Tensor) -> float:
    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    return float((xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1)) - 2 * xy.mean())
