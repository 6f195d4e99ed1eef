"""What a training depends on, as one digest; and whether a finished one with that digest lies in a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from pipelines.generators.checkpoint import CONFIG, load_checkpoint
from pipelines.generators.conditioning import LESIONS
from pipelines.generators.registry import BASE
from pipelines.train.data import TrainingSet
from schemas.code import RUN, code_sha256
from schemas.errors import CheckpointError
from schemas.params import Params, SamplerParams
from schemas.train_params import DiffusionParams, GeneratorParams, StableDiffusionParams

CODE_FOLDERS: Final = (
    "pipelines/train",
    "pipelines/generators",
    "pipelines/imaging",
    "pipelines/embedding",
    "pipelines/probes",
    "schemas",
)
"""Whose code decides what a training becomes: those that dvc.yaml names for it. DVC reruns the stage when it changes, but
keeps the folder that the state and the finished run lie in. A shipped base counts by its weights."""


def content_key(
    name: str, params: Params, own: GeneratorParams, data: TrainingSet, held_out: TrainingSet | None
) -> str:
    """Return a digest of everything the weights depend on: params, images with their labels, base, code.

    Validation images decide whether the tone term is used, when a run stops and which average is kept, so they count where
    one of them is on; what they are compared with is drawn by the sampler, which then counts as well.
    """
    decides = judged(own)
    reads_tone = isinstance(own, DiffusionParams) and own.fairness.tone.weight > 0
    base = BASE / name / CONFIG
    slots = sorted(
        {(str(c.lesion), LESIONS.index(c.lesion)) for c in data.conditions}
    )  # a moved lesion is another class
    common = params.train.model_dump_json(include={"seed", "resample_power", "max_repeats"})
    parts = [name, own.model_dump_json(), common, data.digest, code_sha256(CODE_FOLDERS, RUN), str(slots)]
    parts.append(base.read_text(encoding="utf-8") if own.start == "base" and base.is_file() else "")
    parts.append(held_out.digest if (decides or reads_tone) and held_out is not None else "")
    sampler = sampler_of(own, params) if decides else None
    parts.append(sampler.model_dump_json() if sampler else "")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def judged(own: GeneratorParams) -> bool:
    """Return whether validation images decide when the run stops or which average is kept."""
    return own.watch.patience > 0 or own.ema.length == "auto"


def sampler_of(own: GeneratorParams, params: Params) -> SamplerParams | None:
    """Return how a generator of that kind is drawn from; None for GANs, which draw in one pass without any setting."""
    return params.produce.sampler if isinstance(own, DiffusionParams | StableDiffusionParams) else None


def finished(name: str, folder: Path, key: str) -> dict[str, Any] | None:
    """Return the config of a finished, undamaged run with this content, or None."""
    try:
        config = load_checkpoint(folder, name).config
    except CheckpointError:
        return None
    return config if config.get("content_key") == key and (folder / "card.md").is_file() else None
