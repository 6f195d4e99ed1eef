"""Fine-tuning Stable Diffusion with LoRA, on a random tiny model in the real folder format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_spaces import four
from test_training import BUDGET, began, followed, same, tiny_set
from tiny_diffusers import ONE_PASS, recipe_on, saved, tiny_stable_diffusion
from torch import nn

from pipelines.generators.checkpoint import WEIGHTS, load_checkpoint
from pipelines.generators.draws import step_draws
from pipelines.generators.interface import Losses, Step
from pipelines.generators.pinned import weights_sha256
from pipelines.generators.pretrained import open_pretrained
from pipelines.generators.registry import load_generator
from pipelines.train.data import training_set
from pipelines.train.loop import Run, accelerated, fit
from schemas.errors import ParamsError
from schemas.params import SamplerParams
from schemas.pinned_params import PretrainedParams


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PretrainedParams:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


class Half:
    """What accelerate gives a step under bf16; accelerate itself knows one precision a process."""

    device = torch.device("cpu")

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)


def floats(losses: Losses) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}


def trained(base: PretrainedParams, state: Path, stop_after: int | None = None) -> Run:
    return fit(
        followed(recipe_on(base), stop_after), tiny_set(), BUDGET, seed=5, key="k", state=state, mixed_precision="no",
        on_log=lambda row: None, on_save=lambda run: None,
    )  # fmt: skip


def test_a_run_cut_between_states_resumes_exactly_and_what_it_learned_shows(
    base: PretrainedParams, tmp_path: Path
) -> None:
    whole = trained(base, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(base, tmp_path / "cut", stop_after=5)
    resumed = trained(base, tmp_path / "cut")
    assert began(resumed) == 4
    assert same(resumed.recipe.net, whole.recipe.net)
    assert same(resumed.average, whole.average)
    assert resumed.log == whole.log
    before = load_generator(saved(recipe_on(base), tmp_path / "before"), ONE_PASS)
    after = load_generator(saved(whole.recipe, tmp_path / "after"), ONE_PASS)  # type: ignore[arg-type]
    one, other = before.sample(*four()), after.sample(*four())
    assert one.shape == (4, 64, 64, 3)
    assert (one != other).mean() > 0.1, "LoRA and condition tokens change what is drawn"


def test_an_image_is_the_same_in_any_batch_and_another_with_another_key(base: PretrainedParams, tmp_path: Path) -> None:
    generator = load_generator(
        saved(recipe_on(base), tmp_path), SamplerParams(steps=2, spacing="uniform", guidance_lesion=2)
    )
    conditions, keys = four()
    together = generator.sample(conditions * 4, keys * 4)  # more than are drawn at once: eight, and eight
    assert np.array_equal(together[:8], together[8:])
    alone = generator.sample(conditions[2:3], keys[2:3])[0]
    assert np.abs(together[2].astype(int) - alone).max() <= 1
    assert (generator.sample(conditions[2:3], keys[3:])[0] != alone).any()


def test_tone_and_lesion_asked_for_reach_the_network(base: PretrainedParams, tmp_path: Path) -> None:
    net = recipe_on(base).net["denoiser"]
    nn.init.normal_(net.project.weight, std=3.0)
    planes, time = torch.randn(1, 4, 8, 8), torch.tensor([500])
    dark, light, wart = (torch.tensor([[0.0, 3, ita, lesion]]) for ita, lesion in ((-40, 1), (50, 1), (50, 2)))
    with torch.no_grad():
        found = [net(planes, time, codes) for codes in (dark, light, wart)]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


def test_the_checkpoint_holds_adapters_and_conditions_and_no_weight_of_the_base(
    base: PretrainedParams, tmp_path: Path
) -> None:
    recipe = recipe_on(base)
    saved(recipe, tmp_path)
    stored = load_checkpoint(tmp_path, "stable_diffusion")
    assert {n.split(".")[1] for n in stored.tensors} == {"conditioner", "project", "prompt", "lora"}
    lora = [n for n in stored.tensors if ".lora." in n]
    assert lora
    assert all(".lora_A." in n or ".lora_B." in n for n in lora)
    projections = 4 * 2 * (3 + 1 + 6)  # q, k, v, out; to itself and to the text; 3 blocks down, 1 between, 3 x 2 up
    assert len(lora) == 2 * projections
    assert stored.config["base"]["sha256"] == base.sha256 == weights_sha256(Path(str(base.path)))
    assert (tmp_path / WEIGHTS).stat().st_size < 200_000
    assert not any("lora" in n for n in load_file(Path(str(base.path), "unet/diffusion_pytorch_model.safetensors")))


def test_training_starts_from_the_base_and_leaves_it_as_it_was(base: PretrainedParams, tmp_path: Path) -> None:
    untouched = open_pretrained(base, "test", ParamsError).unet
    net = trained(base, tmp_path).recipe.net["denoiser"]._frozen.net
    now = {n.replace(".base_layer", ""): p for n, p in net.named_parameters() if "lora" not in n}
    assert all(torch.equal(p, now[n]) for n, p in untouched.named_parameters())
    fresh = recipe_on(base).net["denoiser"]
    planes, time, text = torch.randn(2, 4, 8, 8), torch.tensor([10, 900]), torch.randn(2, 5, 16)
    with torch.no_grad():
        drawn = fresh._frozen.net(planes, time, text).sample
        assert torch.allclose(drawn, untouched(planes, time, text).sample, atol=1e-6)


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
def test_a_step_in_parts_is_the_same_step(predicts: str, tmp_path: Path) -> None:
    base = tiny_stable_diffusion(tmp_path / "sd", predicts=predicts)
    data, results = tiny_set(), []
    for accumulate in (1, 3):
        recipe = recipe_on(
            base, accumulate=accumulate, gradient_checkpointing=accumulate > 1, zero_terminal_snr=predicts != "epsilon"
        )
        optimiser = torch.optim.SGD(recipe.parameter_groups()[0], lr=0.1)
        step = Step(
            data.pixels[:8], data.codes[:8], step_draws(1, 0), 0, accelerated("no"), [optimiser],
            {"denoiser": recipe.net["denoiser"]}, data.groups[:8], data.fst[:8],
        )  # fmt: skip
        results.append((floats(recipe.step(step)), {n: p.detach() for n, p in recipe.net.named_parameters()}))
    (whole, weights), (parts, others) = results
    assert parts == pytest.approx(whole, rel=1e-4)
    assert all(torch.allclose(weights[n], others[n], atol=1e-5) for n in weights)


def test_in_16_bits_the_base_is_halved_and_what_learns_is_not(base: PretrainedParams) -> None:
    recipe = recipe_on(base, mixed_precision="bf16")
    net = recipe.net["denoiser"]
    assert net._frozen.net.conv_in.weight.dtype == torch.bfloat16
    assert {p.dtype for p in recipe.net.parameters()} == {torch.float32}
    data = tiny_set()
    optimiser = torch.optim.AdamW(recipe.parameter_groups()[0], lr=1e-3)
    before = net.project.weight.detach().clone()
    step = Step(
        data.pixels, data.codes, step_draws(1, 0), 0, Half(), [optimiser], {"denoiser": net}, data.groups, data.fst
    )
    said = floats(recipe.step(step))
    assert np.isfinite(said["loss"])
    assert not torch.equal(net.project.weight, before)


def test_at_512_px_it_trains_saves_and_draws(base: PretrainedParams, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    conditions, keys = four()
    data = training_set(rng.integers(0, 256, (2, 512, 512, 3), dtype=np.uint8), conditions[:2], 0.5, "large")
    budget = replace(BUDGET, images=2, batch=2)
    recipe = recipe_on(base, 512, gradient_checkpointing=True, accumulate=2)
    run = fit(
        recipe, data, budget, seed=5, key="k", state=tmp_path / "state", mixed_precision="no",
        on_log=lambda row: None, on_save=lambda run: None,
    )  # fmt: skip
    assert np.isfinite(run.log[-1]["loss"])
    drawn = load_generator(saved(recipe, tmp_path / "model"), ONE_PASS.model_copy(update={"steps": 1}))
    assert drawn.resolution == 512
    assert drawn.sample(conditions[:1], keys[:1]).shape == (1, 512, 512, 3)
