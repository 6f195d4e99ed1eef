"""Which precision a machine trains in: bfloat16 only where it multiplies in it itself.

On a CPU that has to imitate bfloat16 a training step takes 2 to 11 times as long as in float32 (docs/log.md, 2026-11-26), so
`auto` asks first. What it came to is settled before a training begins, and is part of its identity. Sampling stays in
float32 unless told otherwise: there an image is the same in any batch, to one level.
"""

from __future__ import annotations

from typing import Final, Literal

import torch

from schemas.params import Params
from schemas.train_params import DiffusionParams, StableDiffusionParams

_MAY_BE_AUTO: Final = ("diffusion", "stable_diffusion")
"""The generators whose mixed_precision may be auto."""


def multiplies_in_bf16() -> bool:
    """Return whether this machine's GPU or, without one, its CPU multiplies in bfloat16 without imitating it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return any(has is True for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)


def quick_precision() -> Literal["bf16", "no"]:
    """Return the mixed precision that bases and benches train in here: bf16 where that is quicker."""
    return "bf16" if multiplies_in_bf16() else "no"


def settled(params: Params) -> Params:
    """Return the params with every mixed_precision that was `auto` decided for this machine; others stay as they are."""
    train = {name: _settled(getattr(params.train, name)) for name in _MAY_BE_AUTO}
    return params.model_copy(update={"train": params.train.model_copy(update=train)})


def _settled(own: DiffusionParams | StableDiffusionParams) -> DiffusionParams | StableDiffusionParams:
    if own.mixed_precision != "auto":
        return own
    # A network compiled for a CPU learns nothing in bf16: see compiling.py.
    compiled = isinstance(own, DiffusionParams) and own.compile and not torch.cuda.is_available()
    return own.model_copy(update={"mixed_precision": "no" if compiled else quick_precision()})
