"""Which generators exist. Another is one file with a recipe and a sampler, its params, and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.generators.checkpoint import read_config
from pipelines.generators.dcgan import DcganGenerator, DcganRecipe
from pipelines.generators.diffusion import DiffusionGenerator, DiffusionRecipe
from pipelines.generators.gan import GanGenerator, GanRecipe
from pipelines.generators.interface import Generator, Recipe
from pipelines.generators.stable_diffusion import StableDiffusionGenerator, StableDiffusionRecipe
from pipelines.generators.stylegan2 import Stylegan2Generator, Stylegan2Recipe
from schemas.errors import ParamsError
from schemas.params import SamplerParams

BASE: Final = Path(__file__).parent / "base"
"""The shipped phantom bases, a folder each."""


@dataclass(frozen=True)
class Entry:
    """How to train one kind of generator and how to load it."""

    recipe: Callable[[Any, int], Recipe]
    load: Callable[[Path, SamplerParams], Generator]


GENERATORS: Final[dict[str, Entry]] = {
    "diffusion": Entry(DiffusionRecipe, DiffusionGenerator),
    "gan": Entry(GanRecipe, GanGenerator),
    "dcgan": Entry(DcganRecipe, DcganGenerator),
    "stylegan2": Entry(Stylegan2Recipe, Stylegan2Generator),
    "stable_diffusion": Entry(StableDiffusionRecipe, StableDiffusionGenerator),
}


def entry(name: str) -> Entry:
    """Return the generator's entry.

    Raises:
        ParamsError: there is no such generator.
    """
    if name not in GENERATORS:
        raise ParamsError(f"generator {name!r}: not known; use one of {', '.join(GENERATORS)}")
    return GENERATORS[name]


def load_generator(folder: Path, sampler: SamplerParams) -> Generator:
    """Return the generator in a checkpoint folder, ready to draw.

    Raises:
        CheckpointError: missing, damaged, or made by another version.
        ParamsError: it is of a kind that is not known.
    """
    return entry(str(read_config(folder).get("generator"))).load(folder, sampler)
