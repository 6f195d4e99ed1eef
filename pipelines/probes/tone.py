"""A probe of skin type that gradients pass through: what the tone term of a training reads predicted images with.

It is for training alone. What is trained against a probe learns to please it, so nothing is measured with this one
afterwards: gates and evaluation use the measured ITA (`imaging.tone`), KID the embedded extractor.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from schemas.words import FST_RANGE

TYPES: Final = len(FST_RANGE)
SIDE: Final = 8
"""The picture is averaged to 8 x 8: tone is coarse, and a blurred prediction reads like a sharp one."""

HIDDEN: Final = 48
STEPS: Final = 400
RATE: Final = 3e-3
NOISE: Final = 0.03
"""Standard deviation of the noise added while fitting, of a range of 2."""


class ToneProbe(nn.Module):
    """Float sRGB planes to Fitzpatrick types: a small network whose weights are buffers, so that nothing trains them."""

    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor
    known: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inner", torch.zeros(HIDDEN, 3 * SIDE * SIDE))
        self.register_buffer("inner_bias", torch.zeros(HIDDEN))
        self.register_buffer("outer", torch.zeros(TYPES, HIDDEN))
        self.register_buffer("outer_bias", torch.zeros(TYPES))
        self.register_buffer("known", torch.ones(TYPES, dtype=torch.bool))

    def forward(self, planes: Tensor) -> Tensor:
        """Return probabilities (n, 6) of FST I-VI for planes (n, 3, r, r), -1 to 1; a type never seen has 0."""
        hidden = F.silu(F.linear(coarse(planes), self.inner, self.inner_bias))
        logits = F.linear(hidden, self.outer, self.outer_bias)
        return logits.masked_fill(~self.known, float("-inf")).softmax(dim=1)


def coarse(planes: Tensor) -> Tensor:
    """Return planes (n, 3, r, r) averaged to (n, 3 x 8 x 8)."""
    return F.adaptive_avg_pool2d(planes, SIDE).flatten(1)


def as_planes(pixels: Tensor) -> Tensor:
    """Return uint8 pixels (n, r, r, 3) as float planes (n, 3, r, r), -1 to 1."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def fit_tone_probe(pixels: Tensor, fst: Tensor, seed: int) -> ToneProbe:
    """Return a probe fitted by cross-entropy with every type counting alike, on all eight poses.

    Args:
        pixels: uint8 (n, r, r, 3), real images.
        fst: int64 (n,), 1-6; rows with 0 (unknown) are left out.

    Raises:
        ValueError: fewer than two types are there.
    """
    said = fst > 0
    truth = fst[said] - 1
    sizes = torch.bincount(truth, minlength=TYPES)
    if int((sizes > 0).sum()) < 2:
        raise ValueError("fewer than two Fitzpatrick types to fit the tone probe on")
    rng = torch.Generator().manual_seed(seed)
    shapes = ((HIDDEN, 3 * SIDE * SIDE), (HIDDEN,), (TYPES, HIDDEN), (TYPES,))
    weights = [torch.randn(s, generator=rng) * (s[-1] ** -0.5 if len(s) > 1 else 0.0) for s in shapes]
    probe = ToneProbe()
    probe.known.copy_(sizes > 0)
    _descend([w.requires_grad_(True) for w in weights], coarse(as_planes(pixels[said])), truth, sizes, rng)
    for name, value in zip(("inner", "inner_bias", "outer", "outer_bias"), weights, strict=True):
        getattr(probe, name).copy_(value.detach())
    return probe


def _descend(weights: list[Tensor], seen: Tensor, truth: Tensor, sizes: Tensor, rng: torch.Generator) -> None:
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.05)
    balance = torch.where(sizes > 0, len(truth) / sizes.clamp_min(1) / (sizes > 0).sum(), 0.0)
    grid = seen.reshape(-1, 3, SIDE, SIDE)
    for step in range(STEPS):
        posed = torch.rot90(grid, step % 4, dims=(2, 3))
        posed = posed.flip(3) if step % 8 >= 4 else posed
        noisy = posed.flatten(1) + NOISE * torch.randn(seen.shape, generator=rng)
        logits = F.linear(F.silu(F.linear(noisy, weights[0], weights[1])), weights[2], weights[3])
        loss = F.cross_entropy(logits[:, sizes > 0], _renumbered(truth, sizes), weight=balance[sizes > 0])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def _renumbered(truth: Tensor, sizes: Tensor) -> Tensor:
    """Return classes counted among those that are there."""
    return ((sizes > 0).cumsum(0) - 1)[truth]


@torch.no_grad()
def mean_readings(probe: ToneProbe, pixels: Tensor, fst: Tensor) -> Tensor:
    """Return (6, 6): row g is the probe's mean reading of real images of type g + 1; a type not there reads as itself."""
    read = probe(as_planes(pixels))
    rows = [read[fst == g].mean(dim=0) if bool((fst == g).any()) else torch.eye(TYPES)[g - 1] for g in FST_RANGE]
    return torch.stack(rows)


@torch.no_grad()
def recall_by_fst(probe: ToneProbe, pixels: Tensor, fst: Tensor) -> dict[int, tuple[int, float]]:
    """Return, for each type with an image, how many there are and the share (0-1) that the probe reads as that type."""
    read = probe(as_planes(pixels)).argmax(dim=1) + 1
    return {
        g: (int((fst == g).sum()), float((read[fst == g] == g).float().mean()))
        for g in FST_RANGE
        if bool((fst == g).any())
    }
