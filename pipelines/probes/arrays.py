"""Named arrays and what is said about them, in one safetensors file of the same bytes every time."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save_arrays(tensors: Mapping[str, NDArray[Any]], about: Mapping[str, Any], path: Path) -> None:
    """Write the arrays and `about` (JSON-able) atomically: temporary name, fsync, rename.

    safetensors writes its metadata in the order of a randomly seeded hash map, so two keys would make two builds of
    the same arrays differ in their bytes; everything said is therefore one value.
    """
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    said = {"about": json.dumps(about, sort_keys=True)}
    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, partial, metadata=said)
    with partial.open("rb") as handle:
        os.fsync(handle.fileno())
    partial.replace(path)


def load_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays by name, and what was said about them.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a whole file that `save_arrays` wrote.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})["about"])
            # safe_open is no mapping: it has keys() but cannot be iterated
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path.name}: {error}") from None
