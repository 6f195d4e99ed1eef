"""A network prepared for its processes: copied to each (DDP), or parted between them (FSDP2) where it is too large for one.

Sharding is asked for as accelerate asks for it, by a config file with `distributed_type: FSDP` (infra/accelerate), which
reaches a process as environment variables. accelerate itself shards on accelerators alone, and only what a module owns;
here torch's `fully_shard` is called with accelerate's settings, on CPU too, and on a base that is no child of the net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pipelines.generators.interface import Recipe
from schemas.errors import ParamsError


@runtime_checkable
class Shardable(Protocol):
    """A recipe whose network can be parted between processes."""

    def sharded(self, shard: Callable[[nn.Module], None]) -> Mapping[str, nn.Module]:
        """Let `shard` part everything large, in place, and return the children of `net` as they are to be called."""
        ...


def prepared(recipe: Recipe, accelerator: Accelerator) -> Mapping[str, nn.Module]:
    """Return the trained children of a recipe's network as a step calls them; parameters may have been replaced.

    Raises:
        ParamsError: sharding is asked for, and the recipe cannot be sharded or the settings are of another kind.
    """
    if accelerator.num_processes > 1 and parse_flag_from_env("ACCELERATE_USE_FSDP"):
        if not isinstance(recipe, Shardable):
            raise ParamsError(
                f"train.accelerate: FSDP, but {recipe.name} is not sharded, its network is small; needs DDP "
                "(distributed_type MULTI_GPU); use infra/accelerate/multi_gpu.yaml"
            )
        settings = FullyShardedDataParallelPlugin()
        if settings.fsdp_version != 2 or settings.cpu_ram_efficient_loading:
            raise ParamsError(
                f"train.accelerate: fsdp_version {settings.fsdp_version}, fsdp_cpu_ram_efficient_loading "
                f"{settings.cpu_ram_efficient_loading}; needs 2 and false; see infra/accelerate/fsdp.yaml"
            )
        return recipe.sharded(lambda net: _shard(net, settings, accelerator))
    trained = {n: child for n, child in recipe.net.named_children() if next(child.parameters(), None) is not None}
    return {name: accelerator.prepare(child) for name, child in trained.items()}


def _shard(net: nn.Module, settings: FullyShardedDataParallelPlugin, accelerator: Accelerator) -> None:
    """Part the weights of `net`: every block of a named class by itself, so that few are whole at a time."""
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    how: dict[str, Any] = {"mesh": mesh, "offload_policy": settings.cpu_offload}
    blocks = settings.transformer_cls_names_to_wrap or []
    for module in list(net.modules()):
        if type(module).__name__ in blocks:
            fully_shard(module, reshard_after_forward=settings.reshard_after_forward, **how)
    fully_shard(net, **how)


@torch.no_grad()
def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with all its parts; every process has to ask for it, in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def parted_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a whole tensor, parted as `like` is; the tensor itself if that is whole."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    # Each process cuts its own part out: files are read in no fixed order, so nothing may be exchanged here.
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
