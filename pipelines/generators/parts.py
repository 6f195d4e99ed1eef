"""One optimiser step on a batch that is learned part after part (gradient accumulation), so that less memory is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from pipelines.generators.interface import Step


def in_parts(n: int, parts: int, device: torch.device) -> Sequence[Tensor]:
    """Return the positions 0 to n - 1 in `parts` pieces, nearly alike; in n, if `parts` is more."""
    return torch.arange(n, device=device).chunk(parts)


def learn(
    context: Step, child: str, optimiser: int, parameters: Sequence[nn.Parameter], parts: Sequence[Tensor],
    share: Callable[[Tensor], Tensor],
) -> None:  # fmt: skip
    """Take one step of an optimiser; the gradient is the sum of the parts', clipped to a norm of 1 as a whole.

    Args:
        child: the child of the recipe's network that `share` runs; processes exchange its gradient with the last part.
        optimiser: its place in `context.optimisers`.
        share: from a part's positions (k,) to its share of the batch's loss; the shares sum to the loss.
    """
    for number, part in enumerate(parts, 1):
        alone = nullcontext() if number == len(parts) else context.backend.no_sync(context.wrapped[child])
        with alone:
            context.backend.backward(share(part))
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    context.optimisers[optimiser].step()
    context.optimisers[optimiser].zero_grad(set_to_none=True)
