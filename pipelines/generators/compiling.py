"""A network compiled by torch's inductor, under the names it had before."""

from __future__ import annotations

import os
import shutil

import torch
from torch import nn

from schemas.errors import ParamsError


def compiled(net: nn.Module, where: str, mixed_precision: str) -> None:
    """Compile `net` in place; its weights keep their names, and copies of it are not compiled.

    Nothing happens until the first pass, which takes minutes; the code made is cached by torch for the next run. It sums
    in another order than the network as it is: on CPU in float32 a gradient of the diffusion network differs by 1e-6 of
    its norm.

    Args:
        where: the parameter that asks for it, for the message.

    Raises:
        ParamsError: on CPU, in bf16, where torch 2.13 compiles this network wrong (measured: the output is right, the
            gradient of most layers exactly 0), or where no C++ compiler is found.
    """
    if not torch.cuda.is_available():
        if mixed_precision == "bf16":
            raise ParamsError(
                f"{where}: true, mixed_precision bf16, no GPU; a CPU needs mixed_precision 'no' with it, compiled bf16 "
                "leaves most layers there without gradient; set it to false (faster on a CPU) or mixed_precision to 'no'"
            )
        if (compiler := missing_compiler()) is not None:
            raise ParamsError(
                f"{where}: true, but there is no {compiler}; compiling for a CPU needs a C++ compiler; "
                "install gcc (g++), name one in the environment's CXX, or set it to false"
            )
    net.compile()


def missing_compiler() -> str | None:
    """Return the name of the C++ compiler that torch would call, if it is not there; else None."""
    name = os.environ.get("CXX", "g++")
    return None if shutil.which(name) else name
