"""What a GAN is refused or stopped for: nothing to tell apart, scores that run away, samples of one condition all alike.

A GAN's losses do not say that its samples have become one picture. `diversity` does: how far two samples of one
condition lie apart, as a share of how far two real images of that condition do. It is written beside the losses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.generators.adversarial import coarse, signed
from pipelines.generators.interface import Recipe
from pipelines.train.data import TrainingSet
from schemas.errors import CheckFailed
from schemas.words import stratum_name

STRATA: Final = 3
"""The strata with the most real images are looked at: their real distance is known best."""

SAMPLES: Final = 8
"""Of each stratum, real and false."""

GRACE: Final = 0.3
"""Share of the images before which sameness is no verdict: every GAN begins with one picture."""

IN_A_ROW: Final = 3
"""Readings below the bound that stop a training."""

RUNAWAY: Final = 1e5
"""A loss or score of more than this has left what an update can bring back."""


@runtime_checkable
class Adversarial(Protocol):
    """A recipe of a GAN that can be watched."""

    params: Any

    def draw(self, net: nn.Module, codes: Tensor, rng: torch.Generator) -> Tensor:
        """Return uint8 pixels (n, r, r, 3) that `net`, a copy of this recipe's, draws under `codes` (n, 4)."""
        ...


def check_conditions(name: str, data: TrainingSet) -> None:
    """Refuse a training set that a conditional GAN cannot learn from.

    Raises:
        CheckFailed: it is one image, or every image has the same skin type and lesion.
    """
    strata = sorted({stratum_name(c.modality, c.fst, c.lesion) for c in data.conditions})
    if len(data.conditions) < 2:
        raise CheckFailed(
            f"train {name}: 1 image in the train split ({strata[0]}); a GAN of one image draws that image, at least 2 are "
            "needed and some hundreds are useful; add a source"
        )
    if len(strata) < 2:
        raise CheckFailed(
            f"train {name}: all {len(data.conditions)} images of the train split are {strata[0]}; a conditional GAN needs "
            "at least 2 strata to tell apart; add a source with another skin type or lesion"
        )


def diversity_meter(recipe: Recipe, data: TrainingSet, seed: int) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function of a recipe's network that measures the diversity of what it draws; of another recipe, nothing.

    The same noise is drawn every time and in every process, so readings differ by the weights alone.
    """
    chosen = _strata(data, seed) if isinstance(recipe, Adversarial) else []
    goals = [_distance(data.pixels[part]) for part in chosen]
    one_of_each = [data.codes[part[:1]].expand(len(part), -1) for part in chosen]
    codes = torch.cat(one_of_each) if chosen else torch.zeros(0, 4)

    @torch.no_grad()
    def measure(net: nn.Module) -> dict[str, float]:
        if not isinstance(recipe, Adversarial) or not chosen:
            return {}
        device = next(net.parameters()).device
        pixels = recipe.draw(net, codes.to(device), torch.Generator().manual_seed(seed)).cpu()
        parts = pixels.split([len(part) for part in chosen])
        return {"diversity": float(np.mean([_distance(p) / g for p, g in zip(parts, goals, strict=True)]))}

    return measure


def check_stable(recipe: Recipe, log: Sequence[Mapping[str, Any]], budget_images: int) -> None:
    """Stop a GAN by its log so far; any other recipe passes.

    Raises:
        CheckFailed: a loss or score beyond `RUNAWAY`; diversity under `min_diversity` in the last readings.
    """
    if not isinstance(recipe, Adversarial) or not log:
        return
    last, name = log[-1], recipe.name
    wild = {k: v for k, v in last.items() if k not in ("step", "images") and abs(v) > RUNAWAY}
    if wild:
        said = ", ".join(f"{k} {v:g}" for k, v in wild.items())
        raise CheckFailed(
            f"train {name}: {said} at step {last['step']}; losses and scores need to stay within {RUNAWAY:g}, the training "
            f"diverges; lower train.{name}.learning_rate"
        )
    bound = recipe.params.min_diversity
    late = [row["diversity"] for row in log[-IN_A_ROW:] if "diversity" in row and row["images"] > GRACE * budget_images]
    if len(late) == IN_A_ROW and max(late) < bound:
        raise CheckFailed(
            f"train {name}: diversity {late[-1]:.3f} at step {last['step']}; {bound:g} of the real images' is needed "
            f"(train.{name}.min_diversity), its samples of one condition are all alike; lower train.{name}.learning_rate "
            "or use another seed"
        )


def _strata(data: TrainingSet, seed: int) -> list[NDArray[np.int64]]:
    """Return up to `SAMPLES` images of each of the `STRATA` largest strata that have two or more that differ."""
    members: dict[Any, list[int]] = defaultdict(list)
    for index, c in enumerate(data.conditions):
        members[c.modality, c.fst, c.lesion].append(index)
    rng = np.random.default_rng([seed, 0xD1F])
    large = sorted((m for m in members.values() if len(m) > 1), key=len, reverse=True)[:STRATA]
    chosen = [rng.choice(m, size=min(SAMPLES, len(m)), replace=False) for m in large]
    return [part for part in chosen if _distance(data.pixels[part]) > 0]


def _distance(pixels: Tensor) -> float:
    """Return the mean distance of two of the pictures (n, r, r, 3): what neither grain nor tone tells apart is alike."""
    n, flat = len(pixels), coarse(signed(pixels))
    return float(torch.cdist(flat, flat, p=1).sum()) / (n * (n - 1) * flat.shape[1])
