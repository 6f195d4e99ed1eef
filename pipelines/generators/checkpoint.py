"""Checkpoints: safetensors and JSON, written atomically, found damaged by digest. No pickle is ever loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipelines.generators.conditioning import grow_lesions
from schemas.errors import CheckpointError
from schemas.table import write_bytes, write_text

WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"


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
    """Write weights (float16) and config, weights first, and return the weights' sha256."""
    tensors = {k: v.detach().cpu().to(torch.float16).contiguous() for k, v in net.state_dict().items()}
    data = save(tensors)
    digest = hashlib.sha256(data).hexdigest()
    write_bytes(data, folder / WEIGHTS)
    write_text(json.dumps({**config, "sha256": digest}, indent=2, sort_keys=True) + "\n", folder / CONFIG)
    return digest


def load_checkpoint(folder: Path, generator: str) -> Checkpoint:
    """Return a checkpoint whose digest was checked.

    Raises:
        CheckpointError: it is missing, truncated or altered, or is another generator's.
    """
    config = read_config(folder)
    if config.get("generator") != generator:
        raise CheckpointError(
            f"{folder}: holds a {config.get('generator')!r} checkpoint, a {generator!r} one is needed; train {generator}"
        )
    data = (folder / WEIGHTS).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != config["sha256"]:
        raise CheckpointError(
            f"{folder / WEIGHTS}: sha256 {digest[:12]}, {CONFIG} says {config['sha256'][:12]}; "
            "the file is damaged or was exchanged; train again or restore it"
        )
    try:
        return Checkpoint(folder, config, digest, load(data))
    except SafetensorError as error:
        raise CheckpointError(f"{folder / WEIGHTS}: not safetensors ({error}); train again or restore it") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's config without loading its weights.

    Raises:
        CheckpointError: there is none.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder}: no checkpoint ({WEIGHTS} and {CONFIG}) here; run `equiderm train {folder.name}`"
        )
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config
