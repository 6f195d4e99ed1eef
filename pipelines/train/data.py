"""The training set in memory, and which of its images make up step k: a function of (seed, k) and nothing else."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.generators.conditioning import encode
from pipelines.generators.draws import Draws
from pipelines.generators.interface import Condition
from pipelines.imaging.normalise import decode_png
from schemas.catalog import CatalogRow, PixelRow
from schemas.errors import CheckFailed
from schemas.paths import Workspace
from schemas.table import read_rows, read_table
from schemas.words import Lesion, Modality, Split

Stratum = tuple[Modality, int | None, Lesion]


@dataclass(frozen=True)
class TrainingSet:
    """Images and conditions. `digest` names the content, whatever the row order on disk."""

    pixels: Tensor  # uint8 (n, r, r, 3)
    codes: Tensor  # float32 (n, 4)
    conditions: Sequence[Condition]
    weights: NDArray[np.float64]  # probability of each image in a batch
    digest: str
    strata: Sequence[Stratum]  # that have an image, in the order of `stratum_order`
    groups: Tensor  # int64 (n,), each image's position in `strata`

    @property
    def resolution(self) -> int:
        return int(self.pixels.shape[1])

    @cached_property
    def fst(self) -> Tensor:
        """Return each image's Fitzpatrick type, int64 (n,), 0 where nobody said one."""
        return torch.tensor([c.fst or 0 for c in self.conditions])

    def indices(self, seed: int, step: int, size: int) -> NDArray[np.int64]:
        """Return the images of one global batch, drawn with replacement by `weights`."""
        rng = np.random.default_rng([seed, step, 0xDA7A])
        return rng.choice(len(self.weights), size=size, p=self.weights)


def stratum_of(condition: Condition) -> Stratum:
    """Return the modality x FST x lesion cell that an image belongs to."""
    return condition.modality, condition.fst, condition.lesion


def stratum_order(stratum: Stratum) -> tuple[int, int, int]:
    """Return the key that strata are sorted by: modality, FST (unknown first), lesion, each as its list has them."""
    modality, fst, lesion = stratum
    return list(Modality).index(modality), fst or 0, list(Lesion).index(lesion)


def resampling(conditions: Sequence[Condition], power: float, max_repeats: float | None = None) -> NDArray[np.float64]:
    """Return each image's probability, proportional to n^-power for a stratum of n images, capped.

    A stratum's share of a batch is then proportional to n^(1 - power): 0 keeps the data's shares, 1 makes all equal.

    Args:
        max_repeats: no image is drawn more than this many times as often as an even draw over all images would draw
            it (1 is the even draw); what the cap takes goes to the others in proportion. None: no cap.
    """
    strata = [stratum_of(c) for c in conditions]
    sizes = Counter(strata)
    weights = np.array([sizes[s] ** -power for s in strata], np.float64)
    even = np.asarray(weights / weights.sum())
    return even if max_repeats is None else capped(even, max_repeats / len(even))


def capped(shares: NDArray[np.float64], cap: float) -> NDArray[np.float64]:
    """Return probabilities no larger than `cap`, the others enlarged by one common factor (water-filling).

    Raises:
        ValueError: `cap` x their number is below 1, so that they cannot sum to 1.
    """
    if cap * len(shares) < 1 - 1e-9:
        raise ValueError(f"a cap of {cap:g} on each of {len(shares)} shares leaves them below 1 in sum")
    result = shares.copy()
    full = np.zeros(len(shares), np.bool_)
    while (over := ~full & (result > cap)).any():  # each pass caps one stratum or more, so it ends
        full |= over
        result[full] = cap
        if not full.all():
            result[~full] = shares[~full] * ((1 - cap * full.sum()) / shares[~full].sum())
    return result


def training_set(
    pixels: NDArray[np.uint8], conditions: Sequence[Condition], power: float, digest: str,
    max_repeats: float | None = None,
) -> TrainingSet:  # fmt: skip
    """Return a training set from arrays."""
    strata = sorted({stratum_of(c) for c in conditions}, key=stratum_order)
    place = {stratum: i for i, stratum in enumerate(strata)}
    groups = torch.tensor([place[stratum_of(c)] for c in conditions])
    weights = resampling(conditions, power, max_repeats)
    return TrainingSet(torch.from_numpy(pixels), encode(conditions), conditions, weights, digest, strata, groups)


def load_training_set(workspace: Workspace, power: float, max_repeats: float | None = None) -> TrainingSet:
    """Return the `train` split with its pixels.

    Raises:
        CheckFailed: the split is empty, a licence in it forbids derived images, or pixels are missing.
    """
    rows = sorted(
        (r for r in read_rows(workspace.splits, CatalogRow) if r.split == Split.TRAIN), key=lambda r: r.image_id
    )
    if not rows:
        raise CheckFailed(
            "train: 0 images in the train split, at least 1 is needed; add a source or raise stratify.split.train"
        )
    forbidden = sorted({f"{r.source} ({r.licence})" for r in rows if "derive" not in r.licence_allows})
    if forbidden:
        raise CheckFailed(
            f"train: the licence of {', '.join(forbidden)} does not allow derived images, learning from them makes some; "
            "remove it from sources.use or set sources.require: [derive], and ingest again"
        )
    return _read_set(workspace, rows, power, max_repeats)


def load_validation_set(workspace: Workspace) -> TrainingSet | None:
    """Return the `validation` split with its pixels, which measures a training and never moves a weight; None if empty.

    Raises:
        CheckFailed: pixels are missing.
    """
    return load_split(workspace, Split.VALIDATION)


def load_split(workspace: Workspace, split: Split) -> TrainingSet | None:
    """Return a split with its pixels, every image alike; None if empty.

    Raises:
        CheckFailed: pixels are missing.
    """
    rows = sorted((r for r in read_rows(workspace.splits, CatalogRow) if r.split == split), key=lambda r: r.image_id)
    return _read_set(workspace, rows, 0.0, None) if rows else None


def _read_set(workspace: Workspace, rows: Sequence[CatalogRow], power: float, max_repeats: float | None) -> TrainingSet:
    wanted = {r.image_id for r in rows}
    table = read_table(workspace.images, PixelRow, columns=["image_id", "image"])
    found = {
        i: image["bytes"]
        for i, image in zip(table["image_id"].to_pylist(), table["image"].to_pylist(), strict=True)
        if i in wanted
    }
    if missing := sorted(wanted - set(found)):
        raise CheckFailed(
            f"train: {len(missing)} images have no pixels (first: {missing[0]}); run `equiderm ingest` again"
        )
    conditions = [Condition(r.modality, r.fst, r.lesion, r.ita_deg) for r in rows]
    digest = hashlib.sha256(
        "\n".join(f"{r.image_id} {r.modality} {r.fst} {r.lesion} {r.ita_deg}" for r in rows).encode()
    ).hexdigest()
    pixels = np.stack([decode_png(found[r.image_id]) for r in rows])
    return training_set(pixels, conditions, power, digest, max_repeats)


def turned(pixels: Tensor, draws: Draws) -> Tensor:
    """Return each picture (n, r, r, 3) in one of its 8 flips and quarter turns: lesions have no up."""
    n, side = len(pixels), pixels.shape[1]
    turns = _poses(side).to(pixels.device)[draws.below(8, n).to(pixels.device)]
    return pixels.reshape(n, side * side, -1)[torch.arange(n, device=pixels.device)[:, None], turns].reshape(
        pixels.shape
    )


@lru_cache(maxsize=4)
def _poses(side: int) -> Tensor:
    """Return where each pixel of a turned picture lies in the picture itself, int64 (8, side x side)."""
    places = torch.arange(side * side).reshape(side, side)
    turned_places = [torch.rot90(places, p % 4) for p in range(8)]
    return torch.stack([t.flip(1) if p >= 4 else t for p, t in enumerate(turned_places)]).reshape(8, -1)
