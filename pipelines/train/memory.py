"""Out of memory, said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from schemas.errors import ParamsError


@contextmanager
def memory_explained(name: str, batch: int, resolution: int, remedies: str) -> Iterator[None]:
    """Turn running out of memory, the accelerator's or this machine's, into a message that says what to change.

    Raises:
        ParamsError: memory ran out within the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not full:
            raise
        raise ParamsError(
            f"train {name}: out of memory at batch {batch} of {resolution} px; {remedies}; "
            "a changed training starts anew"
        ) from None
