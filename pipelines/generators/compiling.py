"""A network compiled by torch's inductor, under the names it had before."""

from __future__ import annotations

import os
import shutil

import torch
from torch import nn

from schemas.errors import ParamsError


def compiled(net: nn.Module, where: str) -> None:
    """Compile `net` in place; its weights keep their names, and copies of it are not compiled.

    Nothing happens until the first pass, which takes minutes; the code made is cached by torch for the next run. It sums
    in another order than the network as it is, so results differ by rounding.

    Args:
        where: the parameter that asks for it, for the message.

    Raises:
        ParamsError: on CPU, where no C++ compiler is found.
    """
    if not torch.cuda.is_available() and (compiler := missing_compiler()) is not None:
        raise ParamsError(
            f"{where}: true, but there is no {compiler}; compiling for a CPU needs a C++ compiler; "
            "install gcc (g++), name one in the environment's CXX, or set it to false"
        )
    net.compile()


def missing_compiler() -> str | None:
    """Return the name of the C++ compiler that torch would call, if it is not there; else None."""
    name = os.environ.get("CXX", "g++")
    return None if shutil.which(name) else name
