"""How a diffusion step is computed changes its cost, not what is learned."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import test_training
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from test_training import began, same, tiny_set, train
from test_training_fairness import OFF, ON, phantoms
from test_training_processes import TOLERANCE, prepared
from torch import Tensor, nn

from pipelines.generators.compiling import compiled, missing_compiler
from pipelines.generators.denoiser import Denoiser
from pipelines.generators.diffusion import DiffusionRecipe
from pipelines.generators.draws import step_draws
from pipelines.generators.interface import Step
from pipelines.generators.precision import multiplies_in_bf16
from pipelines.train.fairness import attach_fairness
from pipelines.train.launch import train_launched
from pipelines.train.loop import accelerated
from schemas.errors import ParamsError
from schemas.train_params import DiffusionParams, FairnessParams


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
assert t.began(resumed) == 4
assert resumed.step == whole.step == 6
assert t.same(resumed.recipe.net, whole.recipe.net) and t.same(resumed.average, whole.average)
assert resumed.log == whole.log
print("same")
"""


@pytest.mark.skipif(
    not multiplies_in_bf16(), reason="this processor imitates bfloat16, in minutes for what takes seconds"
)
def test_a_run_in_bf16_resumes_bit_for_bit(tmp_path: Path) -> None:
    # A process of its own: accelerate knows one precision a process.
    code = _BF16.format(tests=str(Path(__file__).parent))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "same", done.stderr


def one_step(fairness: FairnessParams | None, **changes: object) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the losses of one step of plain gradient descent, and the network after it."""
    data, made = phantoms(2), recipe(mixed_precision="no", **changes)
    if fairness is not None:
        attach_fairness(made, fairness, data, phantoms(2, 500), 3)
    optimisers = [torch.optim.SGD(group, lr=0.1) for group in made.parameter_groups()]
    learned = {name: made.net[name] for name in ("denoiser", "guiding")}
    step = Step(
        data.pixels[:8], data.codes[:8], step_draws(1, 0), 0, accelerated("no"), optimisers,
        learned, data.groups[:8], data.fst[:8],
    )  # fmt: skip
    return {what: float(loss) for what, loss in made.step(step).items()}, dict(made.net.state_dict())


def test_planes_reach_the_networks_in_the_usual_order_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures lie channels last; a network that is given planes in that order keeps it, and its group norms crawl."""
    orders: list[bool] = []
    forward = Denoiser.forward

    def watched(self: Denoiser, noisy: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        orders.append(noisy.is_contiguous())
        return forward(self, noisy, time, codes)

    monkeypatch.setattr(Denoiser, "forward", watched)
    one_step(None)
    assert orders == [True, True], "the denoiser and its guiding network"


@pytest.mark.parametrize("fairness", [None, OFF, ON], ids=["none", "records", "all"])
def test_a_step_in_parts_or_with_activations_computed_twice_is_the_same_step(fairness: FairnessParams | None) -> None:
    whole, weights = one_step(fairness)
    for changes in ({"accumulate": 3}, {"gradient_checkpointing": True}):
        said, others = one_step(fairness, **changes)
        assert said == pytest.approx(whole, rel=1e-4), changes
        assert weights.keys() == others.keys()
        for name, weight in weights.items():
            assert torch.allclose(weight, others[name], rtol=1e-4, atol=1e-6), (changes, name)
    start = recipe(mixed_precision="no").net.state_dict()
    for network in ("denoiser", "guiding"):
        moved = max(float((weights[n] - start[n]).abs().max()) for n in start if n.startswith(network))
        assert moved > 1e-3, "the step moves weights by far more than the tolerance"


def test_a_run_in_parts_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saving = DiffusionParams(accumulate=3, gradient_checkpointing=True)
    monkeypatch.setitem(test_training.PARAMS, "diffusion", saving)
    whole = train("diffusion", tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train("diffusion", tmp_path / "cut", stop_after=5)
    resumed = train("diffusion", tmp_path / "cut")
    assert began(resumed) == 4
    assert resumed.step == whole.step == 6
    assert same(resumed.recipe.net, whole.recipe.net)
    assert same(resumed.average, whole.average)
    assert resumed.log == whole.log


def test_two_processes_in_parts_learn_what_one_does_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    curves = []
    for processes, accumulate in ((1, 1), (2, 2)):
        workspace, params = prepared(tmp_path / str(processes), processes=processes)
        parted = params.train.diffusion.model_copy(update={"accumulate": accumulate})
        text = (workspace.root / "params.yaml").read_text(encoding="utf-8")
        (workspace.root / "params.yaml").write_text(
            text.replace("diffusion:\n", f"diffusion:\n    accumulate: {accumulate}\n"), encoding="utf-8"
        )
        train_launched(
            "diffusion",
            workspace,
            params.model_copy(update={"train": params.train.model_copy(update={"diffusion": parted})}),
        )
        curves.append(pq.read_table(workspace.model("diffusion") / "losses.parquet")["loss"].to_pylist())
    assert curves[1] == pytest.approx(curves[0], rel=TOLERANCE)


@pytest.mark.skipif(missing_compiler() is not None, reason=f"no C++ compiler {missing_compiler()} to compile with")
def test_a_compiled_network_computes_the_same_under_the_same_names() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 4, 3, padding=1))
    fast = copy.deepcopy(plain)
    compiled(fast, "test", "no")
    assert list(fast.state_dict()) == list(plain.state_dict())
    planes = torch.randn(2, 4, 8, 8)
    for net in (plain, fast):
        (net(planes) ** 2).mean().backward()
    assert torch.allclose(fast(planes), plain(planes), atol=1e-5)
    for one, other in zip(fast.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-6)
    assert copy.deepcopy(fast)._compiled_call_impl is None, "the average of the weights is never run"


def test_compile_reaches_the_network_and_changes_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("pipelines.generators.compiling.missing_compiler", lambda: None)
    monkeypatch.setattr(nn.Module, "compile", lambda self: asked.append(type(self).__name__))
    fast = recipe(compile=True, mixed_precision="no")
    assert asked == ["UNet2DConditionModel"]
    assert list(fast.net.state_dict()) == list(recipe().net.state_dict())


def test_without_a_compiler_compile_is_refused_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ParamsError, match=r"train\.diffusion\.compile: true, but there is no no-such-compiler.*false"):
        recipe(compile=True, mixed_precision="no")


@pytest.mark.skipif(torch.cuda.is_available(), reason="wrong gradients of compiled bf16 were seen on CPU")
def test_compile_in_bf16_is_refused_on_a_cpu() -> None:
    with pytest.raises(ParamsError, match=r"train\.diffusion\.compile: true, mixed_precision bf16, no GPU.*gradient"):
        recipe(compile=True, mixed_precision="bf16")
