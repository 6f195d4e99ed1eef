"""How a diffusion step is computed changes its cost, not what is learned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from test_training import tiny_set

from pipelines.generators.diffusion import DiffusionRecipe
from schemas.train_params import DiffusionParams


def recipe(**changes: object) -> DiffusionRecipe:
    torch.manual_seed(3)
    torch.set_num_threads(1)
    return DiffusionRecipe(DiffusionParams.model_validate(changes), 64)


def test_plain_attention_of_bf16_training_computes_what_the_fused_one_does() -> None:
    plain, fused = recipe(mixed_precision="bf16"), recipe(mixed_precision="no")
    kinds = [{type(p) for p in r.net["denoiser"].unet.attn_processors.values()} for r in (plain, fused)]
    assert kinds == [{AttnProcessor}, {AttnProcessor2_0}]
    data, planes, time = tiny_set(), torch.randn(4, 24, 16, 16), torch.tensor([5, 300, 700, 999])
    gradients = []
    for r in (plain, fused):
        (r.net["denoiser"](planes, time, data.codes[:4]) ** 2).mean().backward()
        gradients.append({n: p.grad for n, p in r.net.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-3, atol=1e-6), name


def test_pictures_too_large_for_plain_attention_keep_the_fused_one() -> None:
    large = DiffusionRecipe(DiffusionParams(mixed_precision="bf16"), 256)
    assert {type(p) for p in large.net["denoiser"].unet.attn_processors.values()} == {AttnProcessor2_0}


_BF16 = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
import test_training as t
import pipelines.train.loop as loop
real = loop.accelerated
loop.accelerated = lambda precision: real("bf16")
folder = Path(sys.argv[1])
whole = t.train("diffusion", folder / "whole")
try:
    t.train("diffusion", folder / "cut", stop_after=5)
except KeyboardInterrupt:
    pass
resumed = t.train("diffusion", folder / "cut")
assert resumed.step == whole.step == 6
assert t.same(resumed.recipe.net, whole.recipe.net) and t.same(resumed.average, whole.average)
assert resumed.log == whole.log
print("same")
"""


def test_a_run_in_bf16_resumes_bit_for_bit(tmp_path: Path) -> None:
    # A process of its own: accelerate knows one precision a process.
    code = _BF16.format(tests=str(Path(__file__).parent))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "same", done.stderr
