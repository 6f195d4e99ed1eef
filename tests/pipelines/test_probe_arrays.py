"""Arrays in a file: the same bytes every time, and no half a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.probes.arrays import load_arrays, save_arrays

TENSORS = {"features": np.arange(12, dtype=np.float32).reshape(3, 4), "thumbs": np.zeros((2, 5), np.uint8)}
ABOUT = {"digest": "ab12", "image_ids": ["one", "two"], "strength": 0.1}


def test_equal_arrays_are_equal_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.safetensors" for n in range(12)]
    for path in paths:
        save_arrays(TENSORS, ABOUT, path)
    assert len({path.read_bytes() for path in paths}) == 1


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    save_arrays(TENSORS, ABOUT, tmp_path / "deep" / "a.safetensors")
    tensors, about = load_arrays(tmp_path / "deep" / "a.safetensors")
    assert about == ABOUT
    assert {k: v.tolist() for k, v in tensors.items()} == {k: v.tolist() for k, v in TENSORS.items()}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("keep", [0, 7, 100])
def test_a_cut_file_is_an_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(TENSORS, ABOUT, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        load_arrays(path)
