"""What a generator is to the rest of the factory: something that trains on batches and draws images from keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.generators.draws import Draws
from schemas.words import Lesion, Modality


@dataclass(frozen=True)
class Condition:
    """What one image is asked to show. None means unknown, which a model learns as a value of its own."""

    modality: Modality
    fst: int | None
    lesion: Lesion
    ita_deg: float | None


class Generator(Protocol):
    """A trained generator, ready to draw."""

    @property
    def name(self) -> str: ...

    @property
    def resolution(self) -> int: ...

    @property
    def checkpoint_sha256(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Sampler settings that the pixels depend on, JSON-able; part of an image's identity."""
        ...

    def sample(self, conditions: Sequence[Condition], keys: Sequence[str]) -> NDArray[np.uint8]:
        """Return uint8 sRGB images (n, r, r, 3), one for each condition.

        The noise of image i comes from keys[i] (hex) alone, so it is the same image in any batch, up to kernel rounding.
        """
        ...


class Recipe(Protocol):
    """How one kind of generator is built, trained for a step, and exported. One object lives through one training."""

    @property
    def name(self) -> str: ...

    @property
    def net(self) -> nn.Module:
        """Every trainable weight, also those that are dropped after training (a discriminator)."""
        ...

    @property
    def exported(self) -> Sequence[str]:
        """Names of the children of `net` whose averaged weights are what is sampled from."""
        ...

    @property
    def whitening(self) -> float:
        """How far the space evens out coarse and fine planes; see `Space.fit`."""
        ...

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each optimiser, in the order `step` uses them."""
        ...

    def step(self, context: Step) -> Losses:
        """Do one optimiser step on a batch and return its losses by name; single values, read when somebody looks."""
        ...

    def config(self) -> dict[str, Any]:
        """Return what is needed, beside the weights, to build the sampler again (JSON-able)."""
        ...


Losses = Mapping[str, float | Tensor]
"""Numbers or tensors of one value, which stay on their device."""


class Backend(Protocol):
    """The part of accelerate's `Accelerator` that a step uses."""

    device: torch.device

    def backward(self, loss: Tensor) -> None: ...

    def autocast(self) -> Any: ...

    def no_sync(self, model: nn.Module) -> Any:
        """Return a context in which the gradients of a prepared `model` stay with their process."""
        ...

    def reduce(self, tensor: Tensor, reduction: str) -> Any:
        """Return the tensor's "sum" or "mean" over all processes, the same in each."""
        ...


@dataclass(frozen=True)
class Step:
    """One training step's input. `draws` depends on (seed, step) alone: the same after a resume."""

    pixels: Tensor  # uint8 (n, r, r, 3)
    conditions: Tensor  # see conditioning.encode
    draws: Draws
    number: int
    backend: Backend
    optimisers: Sequence[torch.optim.Optimizer]
    wrapped: Mapping[str, nn.Module]  # the children of `net` as prepared for the process group
    groups: Tensor  # int64 (n,), each image's stratum: its position in `TrainingSet.strata`
    fst: Tensor  # int64 (n,), 0 where nobody said one


def key_noise(keys: Sequence[str], shape: tuple[int, ...]) -> Tensor:
    """Return float32 standard normal noise (len(keys), *shape), each row from its own hex key alone (after EDM)."""
    rows = []
    for key in keys:
        rng = torch.Generator().manual_seed(int(key[:15], 16))
        rows.append(torch.randn(shape, generator=rng))
    return torch.stack(rows)
