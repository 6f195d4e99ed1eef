"""Sample sheets during training: every FST x lesion on fixed seeds, so that two sheets differ by the training alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.generators.checkpoint import save_checkpoint
from pipelines.generators.interface import Condition, Recipe
from pipelines.generators.registry import load_generator
from pipelines.imaging.sheet import contact_sheet
from pipelines.train.data import TrainingSet
from schemas.params import SamplerParams
from schemas.words import FST_RANGE, FST_ROMAN, LESION_SHORT, Modality

PER_CELL = 2

Pixels = NDArray[np.uint8]


def sheet_conditions(data: TrainingSet) -> list[Condition]:
    """Return one condition for each FST x lesion of the training set's commonest modality.

    The ITA asked for is the median of the FST's training images; None (unknown) where there are none. Without any FST in
    the data there is one row, FST unknown.
    """
    modality = max(Modality, key=lambda m: sum(c.modality == m for c in data.conditions))
    mine = [c for c in data.conditions if c.modality == modality]
    lesions = sorted({c.lesion for c in mine}, key=list(type(mine[0].lesion)).index)
    types: list[int | None] = list(FST_RANGE) if any(c.fst for c in mine) else [None]
    result = []
    for fst in types:
        angles = [c.ita_deg for c in mine if c.fst == fst and c.ita_deg is not None]
        ita = float(np.median(angles)) if angles else None
        result += [Condition(modality, fst, lesion, ita) for lesion in lesions]
    return result


def draw_sheet(
    folder: Path, conditions: Sequence[Condition], title: str, target: Path, sampler: SamplerParams = SamplerParams(),
    turn: int = 0,
) -> Pixels:  # fmt: skip
    """Draw the checkpoint in `folder` on fixed seeds, write a contact sheet as PNG and return its pictures.

    Those are uint8 (n x PER_CELL, r, r, 3), the pictures of one condition next to each other.

    Args:
        turn: each has seeds of its own.
    """
    generator = load_generator(folder, sampler)
    asked = [c for c in conditions for _ in range(PER_CELL)]
    keys = [
        hashlib.sha256(f"sheet {c.fst} {c.lesion} {i % PER_CELL + turn * PER_CELL}".encode()).hexdigest()
        for i, c in enumerate(asked)
    ]
    pixels = generator.sample(asked, keys)
    cells: dict[tuple[str, str], list[Any]] = {}
    for condition, image in zip(asked, pixels, strict=True):
        cells.setdefault(_cell(condition), []).append(image)
    rows = list(dict.fromkeys(_cell(c)[0] for c in conditions))
    columns = list(dict.fromkeys(_cell(c)[1] for c in conditions))
    target.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(cells, rows, columns, per_cell=PER_CELL, title=title).save(target)
    return pixels


def keep_snapshot(recipe: Recipe, average: Any, images: int, folder: Path) -> Path:
    """Write the averaged weights of a run under way to `folder`/snapshot as a checkpoint and return where."""
    snapshot = folder / "snapshot"
    save_checkpoint(exported(recipe, average), {**recipe.config(), "images": images}, snapshot)
    return snapshot


def exported(recipe: Recipe, average: Any) -> Any:
    """Return the part of the averaged network that is sampled from."""
    from torch import nn

    return nn.ModuleDict({name: average[name] for name in recipe.exported})


def _cell(condition: Condition) -> tuple[str, str]:
    row = f"FST {FST_ROMAN[condition.fst]}" if condition.fst else "FST ?"
    return row, LESION_SHORT[condition.lesion]
