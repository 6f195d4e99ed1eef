"""Checkpoints: safetensors and JSON, written atomically, found damaged by digest. No pickle is ever loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipelines.generators.conditioning import LESIONS, MODALITIES, grow_lesions
from pipelines.generators.interface import Condition
from schemas.errors import CheckpointError
from schemas.table import write_bytes, write_text

WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"

SLOTS: Final = {"modality": [str(m) for m in MODALITIES], "lesion": [str(lesion) for lesion in LESIONS]}
"""The words of the conditions, in the order of their embeddings."""


@dataclass(frozen=True)
class Checkpoint:
    """The averaged weights a generator samples from, and how it was made."""

    folder: Path
    config: dict[str, Any]
    sha256: str
    tensors: dict[str, Tensor]

    def load_into(self, net: nn.Module) -> None:
        """Copy the weights into `net` as float32.

        Raises:
            CheckpointError: a weight is missing, unknown, or of another shape.
        """
        wanted, found = net.state_dict(), grow_lesions(self.tensors)
        odd = sorted(set(wanted) ^ set(found))
        odd += [k for k in wanted if k in found and wanted[k].shape != found[k].shape]
        if odd:
            raise CheckpointError(
                f"{self.folder}: {len(odd)} weights do not fit this version's network (first: {odd[0]}); train it again"
            )
        net.load_state_dict({k: v.float() for k, v in found.items()})


def save_checkpoint(net: nn.Module, config: dict[str, Any], folder: Path) -> str:
    """Write weights (float16) and config, weights first, and return the weights' sha256.

    The config gains `slots`: which words the rows of the weights' embeddings stand for.
    """
    tensors = {k: v.detach().cpu().to(torch.float16).contiguous() for k, v in net.state_dict().items()}
    data = save(tensors)
    digest = hashlib.sha256(data).hexdigest()
    write_bytes(data, folder / WEIGHTS)
    config = {**config, "slots": SLOTS, "sha256": digest}
    write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", folder / CONFIG)
    return digest


def load_checkpoint(folder: Path, generator: str) -> Checkpoint:
    """Return a checkpoint whose digest was checked.

    Raises:
        CheckpointError: it is missing, truncated or altered, another generator's, or made under another vocabulary.
    """
    config = read_config(folder)
    if config.get("generator") != generator:
        raise CheckpointError(
            f"{folder}: holds a {config.get('generator')!r} checkpoint, a {generator!r} one is needed; train {generator}"
        )
    _check_slots(config, folder)
    data = (folder / WEIGHTS).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != config.get("sha256"):
        raise CheckpointError(
            f"{folder / WEIGHTS}: sha256 {digest[:12]}, {CONFIG} says {str(config.get('sha256', 'nothing'))[:12]}; "
            "the file is damaged or was exchanged; train again or restore it"
        )
    try:
        return Checkpoint(folder, config, digest, load(data))
    except SafetensorError as error:
        raise CheckpointError(f"{folder / WEIGHTS}: not safetensors ({error}); train again or restore it") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's config without loading its weights.

    Raises:
        CheckpointError: there is none, or the config is damaged.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder}: no checkpoint ({WEIGHTS} and {CONFIG}) here; run `equiderm train {folder.name}`"
        )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:  # bytes that are no UTF-8 are one as well
        raise CheckpointError(f"{folder / CONFIG}: not JSON ({error}); train again or restore it") from None
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{folder / CONFIG}: a JSON {type(config).__name__}, an object is needed; train again or restore it"
        )
    return config


def check_lesions(config: Mapping[str, Any], conditions: Sequence[Condition]) -> None:
    """Refuse conditions whose lesion a finished training never saw: its embedding holds nothing.

    Raises:
        CheckpointError: naming the lesions, and those it did see.
    """
    known: list[str] | None = config.get("lesions")  # a training under way does not say yet
    if known is None:
        return
    unseen = sorted({str(c.lesion) for c in conditions} - set(known))
    if unseen:
        raise CheckpointError(
            f"{config['generator']} {config['sha256'][:12]}: asked for {', '.join(unseen)}, it learned "
            f"{', '.join(known)}; add a source that has them and train {config['generator']} again"
        )


def _check_slots(config: Mapping[str, Any], folder: Path) -> None:
    """Raise CheckpointError if a word of the conditions stands elsewhere now; words added since then do no harm.

    A checkpoint of an earlier version does not say; the vocabulary has only grown since those.
    """
    for kind, words in config.get("slots", {}).items():
        now = SLOTS[kind][: len(words)]
        if now != words:
            place = next((i for i, (a, b) in enumerate(zip(words, now, strict=False)) if a != b), len(now))
            here = now[place] if place < len(now) else "nothing"
            raise CheckpointError(
                f"{folder}: made under another vocabulary: {kind} {place + 1} was {words[place]}, here it is {here}; "
                f"restore schemas/lesions.py or train {config['generator']} again"
            )
