"""Stable Diffusion sharded over two processes (FSDP2, gloo on loopback): what one process makes, up to rounding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from test_stable_diffusion import trained
from test_training import began
from tiny_diffusers import tiny_stable_diffusion

from schemas.pinned_params import PretrainedParams

CONFIGS = Path(__file__).resolve().parents[2] / "infra" / "accelerate"
TOLERANCE = 2e-3
"""Largest relative difference of a loss after six steps, as for processes that hold a copy each."""


def environment(config: str) -> dict[str, str]:
    """Return what accelerate tells the processes it launches with a config file of ours."""
    command = ["--config_file", str(CONFIGS / config), "-m", "pipelines.train.worker"]
    args = _validate_launch_command(launch_command_parser().parse_args(command))[0]
    return dict(prepare_multi_gpu_env(args))


@pytest.mark.parametrize(("config", "processes"), [("multi_gpu.yaml", 4), ("multi_node.yaml", 8), ("fsdp.yaml", 4)])
def test_accelerate_reads_the_configs(config: str, processes: int) -> None:
    command = ["--config_file", str(CONFIGS / config), "-m", "pipelines.train.worker"]
    args = _validate_launch_command(launch_command_parser().parse_args(command))[0]
    assert args.num_processes == processes
    assert args.num_machines == (2 if config == "multi_node.yaml" else 1)
    assert (args.use_fsdp, args.multi_gpu) == (config == "fsdp.yaml", config != "fsdp.yaml")
    assert args.mixed_precision == "no"


_RANKS = """
import sys, torch
from pathlib import Path
sys.path[:0] = [{tests!r}]
import test_stable_diffusion as t
from accelerate import PartialState
from torch.distributed.tensor import DTensor
from pipelines.train.sharding import whole
from schemas.pinned_params import PretrainedParams
folder, base = Path(sys.argv[1]), PretrainedParams.model_validate_json(sys.argv[2])
runs = {{"whole": t.trained(base, folder / "whole")}}
try:
    t.trained(base, folder / "cut", stop_after=5)
except KeyboardInterrupt:
    pass
runs["resumed"] = t.trained(base, folder / "cut")
kept = {{}}
for name, run in runs.items():
    denoiser = run.recipe.net["denoiser"]
    base_parts = list(denoiser._frozen.net.parameters())
    kept[name] = {{
        "net": {{k: whole(v.detach()) for k, v in denoiser.state_dict().items()}},
        "average": dict(run.average.state_dict()),
        "log": run.log,
        "began": t.began(run),
        "held": sum(p.to_local().numel() for p in base_parts) / sum(p.numel() for p in base_parts),
        "sharded": all(isinstance(p, DTensor) for p in [*base_parts, *denoiser.parameters()]),
    }}
torch.save(kept, folder / f"{{PartialState().process_index}}.pt")
torch.distributed.destroy_process_group()
"""


def launched(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in two processes with the environment of fsdp.yaml; accelerate itself launches many on GPU alone."""
    path = folder / "ranks.py"
    path.write_text(script, encoding="utf-8")
    asked = {k: v for k, v in environment("fsdp.yaml").items() if k.startswith("FSDP_") or k == "ACCELERATE_USE_FSDP"}
    env = {**os.environ, **asked, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(path)]
    return subprocess.run([*command, *arguments], env=env, timeout=240, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PretrainedParams:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


def test_sharded_it_learns_what_one_process_does_and_resumes(base: PretrainedParams, tmp_path: Path) -> None:
    script = _RANKS.format(tests=str(Path(__file__).parent))
    done = launched(script, str(tmp_path), base.model_dump_json(), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-30000:]
    left, right = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert left["whole"]["sharded"]
    assert left["whole"]["held"] < 0.6, "each process holds about half of the base"
    for part in ("net", "average"):
        _equal(left["whole"][part], right["whole"][part])  # both processes end alike
        _equal(left["whole"][part], left["resumed"][part])  # and so does a run that was cut
    assert left["resumed"]["log"] == left["whole"]["log"]
    assert (left["resumed"]["began"], right["resumed"]["began"]) == (4, 4)
    gone_on = trained(base, tmp_path / "cut")  # one process, from the state that two sharded ones left at step 4
    assert began(gone_on) == 4
    assert gone_on.log[:4] == left["whole"]["log"][:4]
    assert [r["loss"] for r in gone_on.log] == pytest.approx([r["loss"] for r in left["whole"]["log"]], rel=TOLERANCE)
    alone = trained(base, tmp_path / "alone")
    assert [r["loss"] for r in left["whole"]["log"]] == pytest.approx([r["loss"] for r in alone.log], rel=TOLERANCE)
    assert left["whole"]["average"].keys() == alone.average.state_dict().keys()
    for name, tensor in alone.average.state_dict().items():
        assert float((tensor - left["whole"]["average"][name]).abs().max()) < 1e-3, (
            name
        )  # six steps of 1e-3 move by 6e-3


def _equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in one)


_SMALL = """
import sys
sys.path[:0] = [{tests!r}]
import test_training as t
t.train("diffusion", __import__("pathlib").Path(sys.argv[1]))
"""


def test_a_network_that_is_not_sharded_is_refused(tmp_path: Path) -> None:
    done = launched(_SMALL.format(tests=str(Path(__file__).parent)), str(tmp_path / "state"), folder=tmp_path)
    assert done.returncode != 0
    assert "train.accelerate: FSDP, but diffusion is not sharded" in done.stderr
