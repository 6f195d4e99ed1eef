"""`auto` is bfloat16 where the machine multiplies in it and float32 elsewhere, and is settled before a training begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_train_latent import filled, params_of

from pipelines.generators.precision import multiplies_in_bf16, settled
from pipelines.train.content import content_key
from pipelines.train.data import load_training_set, load_validation_set
from pipelines.train.run import train_generator

IMITATES = {"avx2": True, "avx512_bf16": False, "amx_bf16": False, "cpu_name": "bf16", "l2_cache_size": 1}


@pytest.fixture(params=[True, False], ids=["multiplies", "imitates"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A machine without a GPU whose CPU has bfloat16, and one whose CPU has to imitate it."""
    found = {**IMITATES, "avx512_bf16": request.param}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    return bool(request.param)


def test_auto_is_what_the_machine_multiplies_in(native: bool) -> None:
    assert multiplies_in_bf16() is native
    params = settled(params_of(diffusion={}, stable_diffusion={}, gan={}))
    assert params.train.diffusion.mixed_precision == params.train.stable_diffusion.mixed_precision
    assert params.train.diffusion.mixed_precision == ("bf16" if native else "no")
    assert params.produce.sampler.precision == "float32"
    assert params.train.gan.mixed_precision == "no"
    assert settled(params) == params


def test_what_was_said_stays(native: bool) -> None:
    said = params_of(diffusion={"mixed_precision": "no"}, stable_diffusion={"mixed_precision": "bf16"})
    assert settled(said).train.diffusion.mixed_precision == "no"
    assert settled(said).train.stable_diffusion.mixed_precision == "bf16"


def test_a_network_compiled_for_a_cpu_learns_in_float32(native: bool) -> None:
    assert settled(params_of(diffusion={"compile": True})).train.diffusion.mixed_precision == "no"


def test_a_checkpoint_says_what_it_was_trained_in_and_another_machine_trains_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = filled(tmp_path)
    tiny = {"images": 4, "batch": 4, "start": "scratch", "guiding": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: IMITATES)
    params = params_of(diffusion=tiny)
    first = train_generator("diffusion", workspace, params)
    assert not first.reused
    assert '"mixed_precision": "no"' in (workspace.model("diffusion") / "config.json").read_text(encoding="utf-8")
    assert train_generator("diffusion", workspace, params).reused
    said = params_of(diffusion={**tiny, "mixed_precision": "no"})
    assert train_generator("diffusion", workspace, said).reused, "auto came to the same"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**IMITATES, "avx512_bf16": True})
    elsewhere, data = settled(params), load_training_set(workspace, 0.5, params.train.max_repeats)
    keys = {
        content_key("diffusion", p, p.train.diffusion, data, load_validation_set(workspace)) for p in (elsewhere, said)
    }
    assert len(keys) == 2, "a finished training of the other precision is not kept"
