"""Low-rank adapters (LoRA, Hu et al. 2022) on a frozen network, kept apart from it: in `state_dict` they stand alone."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
"""The projections of diffusers' attention layers, of pixels to each other and to the text."""


def adapted(net: nn.Module, rank: int, alpha: float) -> nn.Module:
    """Put adapters on the attention projections of `net`, freeze everything else, and return them as a module.

    The returned module's parameters *are* those inside `net`, under peft's names (`...to_q.lora_A.default.weight`):
    what an optimiser or `load_state_dict` does to them, `net` computes with. An adapter adds alpha/rank B A x; B starts
    at zero, so that training starts from the base exactly.
    """
    net.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=ATTENTION, init_lora_weights="gaussian")  # type: ignore[arg-type]
    inject_adapter_in_model(config, net)
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # the base may be held in 16 bits; what learns is not
    tree = nn.Module()
    plant(tree, net)
    return tree


def plant(tree: nn.Module, net: nn.Module) -> None:
    """Make the adapters inside `net` the parameters of `tree`, also again when those inside were replaced."""
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            _plant(tree, name.split("."), parameter)


def _plant(tree: nn.Module, path: list[str], parameter: nn.Parameter) -> None:
    *branches, leaf = path
    for branch in branches:
        if branch not in tree._modules:
            tree.add_module(branch, nn.Module())
        tree = tree.get_submodule(branch)
    tree.register_parameter(leaf, parameter)


def weight_type(net: Any) -> torch.dtype:
    """Return the type a UNet's own weights are held in, and its input must have."""
    dtype: torch.dtype = net.conv_in.weight.dtype
    return dtype
