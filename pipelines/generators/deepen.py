"""Give a network more layers without changing what it computes, so that a deeper one goes on from a shallower one's weights.

Source: Chen et al. (2016), "Net2Net: Accelerating Learning via Knowledge Transfer", net2deeper. We differ in that a new
residual layer begins as the identity by a last convolution of 0 (Goyal et al. 2017) instead of an identity kernel: its other
weights are random, so what it adds can be learned from the first step on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

_LAYER: Final = re.compile(r"(unet\.(?:down|up)_blocks)\.(\d+)\.(resnets|attentions)\.(\d+)\.")


def deepened(unet: Any, tensors: Mapping[str, Tensor], before: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights of a shallower UNet under the names they have in `unet`, with those of the layers that are new.

    At each side of the planes the down blocks' new layers come last and the up blocks' second: the first and the last of
    an up block see, from the skips, what they saw. A new up layer hands on what comes from below and leaves its skip out.

    Args:
        unet: diffusers' UNet2DConditionModel, with as many layers or more at every side.
        tensors: the shallower one's weights; names hold `unet.` and may have a prefix.
        before: its layers at each side, greatest side first.

    Raises:
        ValueError: `unet` has fewer layers at some side.
    """
    now = [len(block.resnets) for block in unet.down_blocks]
    added = [a - b for a, b in zip(now, before, strict=True)]
    if min(added) < 0:
        raise ValueError(f"{now} layers cannot take over {list(before)}; as many or more are needed at every side")
    prefix = next(k for k in tensors if "unet." in k).partition("unet.")[0]
    moved = {_moved(name, added): value for name, value in tensors.items()}
    new = {prefix + "unet." + name: value for name, value in _as_identity(unet, before, added).items()}
    return {**moved, **new}


def _moved(name: str, added: Sequence[int]) -> str:
    """Return the name a layer's weight has in the deeper network."""
    found = _LAYER.search(name)
    if found is None or found[1].endswith("down_blocks") or found[4] == "0":
        return name
    place = int(found[4]) + added[len(added) - 1 - int(found[2])]
    return f"{name[: found.start()]}{found[1]}.{found[2]}.{found[3]}.{place}.{name[found.end() :]}"


def _as_identity(unet: Any, before: Sequence[int], added: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights of the new layers, by their names in `unet`: its own, but for what makes them do nothing yet."""
    sides = len(added)
    new: dict[str, Tensor] = {}
    for side in range(sides):
        down, up = f"down_blocks.{side}", f"up_blocks.{sides - 1 - side}"
        places = [(down, before[side] + k) for k in range(added[side])] + [(up, 1 + k) for k in range(added[side])]
        for block, place in places:
            for kind in ("resnets", "attentions"):
                layers = getattr(unet.get_submodule(block), kind, None)
                if layers:
                    new |= {f"{block}.{kind}.{place}.{k}": v for k, v in _silent(layers[place]).items()}
    return new


def _silent(layer: nn.Module) -> dict[str, Tensor]:
    """Return a layer's weights with its branch's last convolution at 0, and a shortcut that keeps the first planes."""
    state = {k: v.detach().clone() for k, v in layer.state_dict().items()}
    for name, value in state.items():
        if name.startswith(("conv2.", "proj_out.", "conv_shortcut.")):
            value.zero_()
    if (shortcut := state.get("conv_shortcut.weight")) is not None:
        shortcut[:, : len(shortcut), 0, 0] = torch.eye(len(shortcut))
    return state
