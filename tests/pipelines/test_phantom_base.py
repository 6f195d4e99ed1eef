"""A base made from scratch, and one that goes on from it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from pipelines.generators.checkpoint import load_checkpoint, read_config
from pipelines.train.base import SEED, base_phantoms, train_base
from pipelines.train.data import TrainingSet
from schemas.errors import CheckpointError, ParamsError


@pytest.fixture(scope="module")
def phantoms() -> tuple[TrainingSet, TrainingSet]:
    drawn = base_phantoms(72, 1, None)
    return drawn, drawn


def make(folder: Path, phantoms: tuple[TrainingSet, TrainingSet], **other: Any) -> dict[str, Any]:
    usual = {
        "start": None, "images": 64, "batch": 8, "rate": 1e-3, "optimizer": "muon", "length": 0.1, "save_every": 32,
        "decay_from": 0.7, "tone_weight": 0.1,
    }  # fmt: skip
    train_base("diffusion", *phantoms, Namespace(**{**usual, **other}), folder)
    return read_config(folder)


@pytest.mark.usefixtures("any_precision")
def test_going_on_takes_the_weights_and_says_what_came_before(
    tmp_path: Path, phantoms: tuple[TrainingSet, TrainingSet]
) -> None:
    first = make(tmp_path / "a", phantoms)
    second = make(tmp_path / "b", phantoms, start=tmp_path / "a", images=32, rate=1e-12, decay_from=0.2)
    third = make(tmp_path / "c", phantoms, start=tmp_path / "b", images=16, rate=1e-12)
    assert first["before"] == []
    assert [b["images"] for b in third["before"]] == [64, 32]
    assert [b["sha256"] for b in third["before"]] == [first["sha256"], second["sha256"]]
    # Each training has draws of its own: the same noise again would teach what is known.
    assert [first["seed"], second["seed"], third["seed"]] == [SEED, SEED + 1, SEED + 2]
    weights = [load_checkpoint(tmp_path / f, "diffusion").tensors for f in ("a", "c")]
    for name, before in weights[0].items():
        # A rate this low moves nothing, so these are the first one's weights, the space's scale included.
        torch.testing.assert_close(weights[1][name], before, rtol=0, atol=1e-3)
    card = (tmp_path / "c" / "card.md").read_text(encoding="utf-8")
    assert "64 of 72 phantoms, batch 8, muon at learning rate 0.001, then 32 of 72" in card
    assert "then again with `--start`" in card
    assert max(pq.read_table(tmp_path / "c" / "losses.parquet")["images"].to_pylist()) == 16


def test_a_start_that_holds_no_base_is_refused(tmp_path: Path, phantoms: tuple[TrainingSet, TrainingSet]) -> None:
    with pytest.raises(CheckpointError, match="nothing"):
        make(tmp_path / "b", phantoms, start=tmp_path / "nothing")
    assert not (tmp_path / "b").exists()


def test_kept_phantoms_are_those_asked_for_or_refused(tmp_path: Path) -> None:
    kept = tmp_path / "kept.npz"
    drawn = base_phantoms(6, 1, kept)
    assert [f.name for f in tmp_path.iterdir()] == ["kept.npz"]
    assert torch.equal(base_phantoms(6, 1, kept).pixels, drawn.pixels)
    with pytest.raises(
        ParamsError, match=r"holds 6 phantoms of version \d+, 7 of version \d+ are asked for; name another"
    ):
        base_phantoms(7, 1, kept)
