"""A training run's whole state on disk: weights, averages, optimisers, watch, step, records.

Safetensors and JSON only; the last two of a run are kept. Fairness weights and the tone probe are children of the network.
A run is named by its key. Another run's states stay until this one has a whole state of its own, and go then.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
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

OPTIMISER = "optimiser."

Records = dict[str, list[dict[str, Any]]]


def write_tensors(tensors: Mapping[str, Tensor], about: Mapping[str, Any], folder: Path, step: int) -> None:
    """Write tensors and what is said about them, the latter last and with the former's digest."""
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    write_bytes(data, folder / f"{step:09d}.safetensors")
    write_text(json.dumps({**about, "sha256": hashlib.sha256(data).hexdigest()}), folder / f"{step:09d}.json")


def read_tensors(folder: Path, step: int) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return what `write_tensors` wrote for a step; None if it is not there, truncated or altered."""
    about = _said_of(folder, step)
    try:
        data = (folder / f"{step:09d}.safetensors").read_bytes()
        return (about, load(data)) if hashlib.sha256(data).hexdigest() == about.get("sha256") else None
    except (OSError, SafetensorError):
        return None


def stored_steps(folder: Path) -> list[int]:
    """Return the steps that `write_tensors` wrote into a folder, whole or not, in order."""
    return sorted(int(f.stem) for f in folder.glob("*.json") if f.stem.isdecimal())


def written_by(folder: Path, key: str) -> list[int]:
    """Return the steps whose tensors say that they are of the run with this key, whole or not, in order."""
    return [step for step in stored_steps(folder) if _said_of(folder, step).get("key") == key]


def keep_only(folder: Path, steps: Sequence[int]) -> None:
    """Remove what `write_tensors` wrote for all other steps."""
    for step in set(stored_steps(folder)) - set(steps):
        (folder / f"{step:09d}.json").unlink(missing_ok=True)
        (folder / f"{step:09d}.safetensors").unlink(missing_ok=True)


def save_state(
    folder: Path, key: str, step: int, parts: Mapping[str, nn.Module], optimisers: Sequence[torch.optim.Optimizer],
    records: Records, writes: bool = True,
) -> None:  # fmt: skip
    """Write the state after `step` steps, then drop older ones and those of other runs; a reader never sees a part of it.

    A state of a later step is another run's, or one of this run that was damaged and passed over: it goes as well.

    Args:
        parts: modules by name (network, averages, watch), whose parameters and buffers are kept.
        records: rows by name: what the run has logged so far.
        writes: false in all processes but the first: they call it too, for a sharded tensor is gathered from all.
    """
    tensors = {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for index, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"{OPTIMISER}{number}.{index}.{name}": torch.as_tensor(v) for name, v in moments.items()}
    tensors = {k: whole(v) for k, v in tensors.items()}
    if not writes:
        return
    write_tensors(tensors, {"key": key, "step": step, "records": records}, folder, step)
    keep_only(folder, [s for s in written_by(folder, key) if s <= step][-KEPT:])


def load_state(
    folder: Path, key: str, parts: Mapping[str, nn.Module], optimisers: Sequence[torch.optim.Optimizer],
    says: bool = True,
) -> tuple[int, Records]:  # fmt: skip
    """Restore the newest undamaged state of this run and return (steps done, records); (0, {}) if there is none.

    A state of another run (`key` differs) is ignored; one whose digest is wrong is passed over for the one before it, and so
    is one of another network or other optimisers.

    Args:
        says: whether this process says on stderr that a state does not fit.
    """
    for step in reversed(written_by(folder, key)):
        found = read_tensors(folder, step)
        if found is None:
            continue
        about, tensors = found
        if odd := _misfit(tensors, parts, optimisers):
            if says:
                print(
                    f"{folder}: the state after step {step} does not fit this version's network (first: {odd}); needs the "
                    "weights it has now; the state is left out, the training goes on from an earlier one or starts anew",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
            continue
        _restore(tensors, parts, optimisers)
        return step, dict(about["records"])
    return 0, {}


def discard_state(folder: Path) -> None:
    """Remove the states of a finished run."""
    shutil.rmtree(folder, ignore_errors=True)


def _said_of(folder: Path, step: int) -> dict[str, Any]:
    """Return what `write_tensors` was given to say for a step; {} if it cannot be read."""
    try:
        about = json.loads((folder / f"{step:09d}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _misfit(
    tensors: Mapping[str, Tensor], parts: Mapping[str, nn.Module], optimisers: Sequence[torch.optim.Optimizer]
) -> str | None:
    """Return the name of a tensor that has no place or another shape here, or that is missing; None if all fit."""
    now = {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
    stored = {k: v for k, v in tensors.items() if k.split(".")[0] in parts}
    odd = set(now) ^ set(stored)
    odd |= {k for k, v in stored.items() if k in now and now[k].shape != v.shape}
    places = {
        f"{number}.{index}": parameter.numel()
        for number, optimiser in enumerate(optimisers)
        for index, parameter in enumerate(p for group in optimiser.param_groups for p in group["params"])
    }
    for name in (k for k in tensors if k.startswith(OPTIMISER)):
        size = places.get(name.removeprefix(OPTIMISER).rpartition(".")[0])
        if size is None or (tensors[name].ndim and tensors[name].numel() != size):
            odd.add(name)
    return min(odd) if odd else None


def _restore(
    tensors: dict[str, Tensor], parts: Mapping[str, nn.Module], optimisers: Sequence[torch.optim.Optimizer]
) -> None:
    for part, module in parts.items():
        own = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
        now = module.state_dict()
        module.load_state_dict({k: parted_like(v, now[k]) if k in now else v for k, v in own.items()})
    for number, optimiser in enumerate(optimisers):
        prefix = f"{OPTIMISER}{number}."
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                index, moment = name.removeprefix(prefix).split(".")
                moments.setdefault(int(index), {})[moment] = parted_like(tensor, parameters[int(index)])
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
