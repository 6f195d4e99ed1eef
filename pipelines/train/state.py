"""A training run's whole state on disk: weights, averages, optimisers, watch, step, records.

Safetensors and JSON only; the last two are kept. Fairness weights and the tone probe are children of the network.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipelines.train.sharding import parted_like, whole
from schemas.table import write_bytes, write_text

KEPT = 2

Records = dict[str, list[dict[str, Any]]]


def write_tensors(tensors: Mapping[str, Tensor], about: Mapping[str, Any], folder: Path, step: int) -> None:
    """Write tensors and what is said about them, the latter last and with the former's digest."""
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    write_bytes(data, folder / f"{step:09d}.safetensors")
    write_text(json.dumps({**about, "sha256": hashlib.sha256(data).hexdigest()}), folder / f"{step:09d}.json")


def read_tensors(folder: Path, step: int) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return what `write_tensors` wrote for a step; None if it is not there, truncated or altered."""
    about_file = folder / f"{step:09d}.json"
    try:
        about = json.loads(about_file.read_text(encoding="utf-8"))
        data = about_file.with_suffix(".safetensors").read_bytes()
        return (about, load(data)) if hashlib.sha256(data).hexdigest() == about["sha256"] else None
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def stored_steps(folder: Path) -> list[int]:
    """Return the steps that `write_tensors` wrote into a folder, whole or not, in order."""
    return sorted(int(f.stem) for f in folder.glob("*.json") if f.stem.isdecimal())


def save_state(
    folder: Path, key: str, step: int, parts: Mapping[str, nn.Module], optimisers: Sequence[torch.optim.Optimizer],
    records: Records, writes: bool = True,
) -> None:  # fmt: skip
    """Write the state after `step` steps and drop older ones; a reader never sees a part of it.

    Args:
        parts: modules by name (network, averages, watch), whose parameters and buffers are kept.
        records: rows by name: what the run has logged so far.
        writes: false in all processes but the first: they call it too, for a sharded tensor is gathered from all.
    """
    tensors = {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for index, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{index}.{name}": torch.as_tensor(v) for name, v in moments.items()}
    tensors = {k: whole(v) for k, v in tensors.items()}
    if not writes:
        return
    write_tensors(tensors, {"key": key, "step": step, "records": records}, folder, step)
    for old in stored_steps(folder)[:-KEPT]:
        (folder / f"{old:09d}.json").unlink()
        (folder / f"{old:09d}.safetensors").unlink(missing_ok=True)


def load_state(
    folder: Path, key: str, parts: Mapping[str, nn.Module], optimisers: Sequence[torch.optim.Optimizer]
) -> tuple[int, Records]:
    """Restore the newest undamaged state of this run and return (steps done, records); (0, {}) if there is none.

    A state of another run (`key` differs) is ignored; one whose digest is wrong is passed over for the one before it.
    """
    for step in reversed(stored_steps(folder)):
        found = read_tensors(folder, step)
        if found is None or found[0].get("key") != key:
            continue
        about, tensors = found
        _restore(tensors, parts, optimisers)
        return step, dict(about["records"])
    return 0, {}


def discard_state(folder: Path) -> None:
    """Remove the states of a finished run."""
    shutil.rmtree(folder, ignore_errors=True)


def _restore(
    tensors: dict[str, Tensor], parts: Mapping[str, nn.Module], optimisers: Sequence[torch.optim.Optimizer]
) -> None:
    for part, module in parts.items():
        own = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
        now = module.state_dict()
        module.load_state_dict({k: parted_like(v, now[k]) if k in now else v for k, v in own.items()})
    for number, optimiser in enumerate(optimisers):
        prefix = f"optimiser.{number}."
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                index, moment = name.removeprefix(prefix).split(".")
                moments.setdefault(int(index), {})[moment] = parted_like(tensor, parameters[int(index)])
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
