"""Skin type, tone, lesion and modality as tokens. Unknown is a value; null (for guidance) is another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from pipelines.generators.draws import Draws
from pipelines.generators.interface import Condition
from schemas.words import Lesion, Modality

LESIONS: Final = list(Lesion)
MODALITIES: Final = list(Modality)
LESION_SLOTS: Final = 256
"""Room for lesions yet to come: index 0 is null, 1 + position in `Lesion` otherwise. A checkpoint with fewer is grown."""

FST_NULL: Final = 0
FST_UNKNOWN: Final = 7
ITA_NULL: Final = 1000.0
ITA_UNKNOWN: Final = 2000.0
COLUMNS: Final = ("modality", "fst", "ita", "lesion")


def encode(conditions: Sequence[Condition]) -> Tensor:
    """Return conditions as float32 (n, 4): modality index, FST code, ITA in degrees or a flag, lesion index."""
    return torch.tensor(
        [
            [
                MODALITIES.index(c.modality),
                FST_UNKNOWN if c.fst is None else c.fst,
                ITA_UNKNOWN if c.ita_deg is None else c.ita_deg,
                1 + LESIONS.index(c.lesion),
            ]
            for c in conditions
        ],
        dtype=torch.float32,
    ).reshape(-1, 4)


def without_tone(codes: Tensor) -> Tensor:
    """Return codes with FST and ITA null."""
    result = codes.clone()
    result[:, 1], result[:, 2] = FST_NULL, ITA_NULL
    return result


def without_lesion(codes: Tensor) -> Tensor:
    """Return codes with the lesion null."""
    result = codes.clone()
    result[:, 3] = 0
    return result


def drop(codes: Tensor, tone: float, lesion: float, both: float, unknown: float, draws: Draws) -> Tensor:
    """Return codes with conditions dropped at random, tone and lesion apart (Ho & Salimans 2022; Brooks et al. 2023).

    Args:
        tone, lesion, both: shares of images whose tone only, lesion only, or both become null.
        unknown: share whose FST becomes unknown while the ITA stays, so that photographs without FST can be learned from.
    """
    draw = draws.uniform(len(codes))
    unknown_draw = draws.uniform(len(codes)) < unknown
    result = codes.clone()
    result[unknown_draw, 1] = FST_UNKNOWN
    no_tone = (draw < tone) | ((draw >= tone + lesion) & (draw < tone + lesion + both))
    no_lesion = (draw >= tone) & (draw < tone + lesion + both)
    result[no_tone, 1], result[no_tone, 2] = FST_NULL, ITA_NULL
    result[no_lesion, 3] = 0
    return result


def grow_lesions(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with `LESION_SLOTS` lesion slots. The shipped bases have 32; the new ones are the mean of those."""
    grown = dict(tensors)
    for name, weight in tensors.items():
        short = LESION_SLOTS - len(weight) if name.split(".")[-2:] == ["lesion", "weight"] else 0
        if short > 0:
            grown[name] = torch.cat([weight, weight[1:].mean(dim=0, keepdim=True).expand(short, -1)])
    return grown


class Conditioner(nn.Module):
    """Codes (n, 4) to tokens (n, 4, width) for cross-attention and their sum (n, width) for modulation."""

    def __init__(self, width: int, linear: Callable[[int, int], nn.Module] = nn.Linear) -> None:
        """Draw the weights.

        Args:
            linear: makes the two layers that read the ITA, from their numbers of inputs and outputs.
        """
        super().__init__()
        self.modality = nn.Embedding(len(MODALITIES), width)
        self.fst = nn.Embedding(8, width)
        self.lesion = nn.Embedding(LESION_SLOTS, width)
        self.flag = nn.Embedding(3, width)
        self.angle = nn.Sequential(linear(9, width), nn.SiLU(), linear(width, width))
        nn.init.zeros_(self.modality.weight)

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        ita = codes[:, 2]
        flag = (ita >= ITA_NULL).long() + (ita >= ITA_UNKNOWN).long()
        t = (ita / 90).clamp(-1, 1)[:, None] * (flag == 0)[:, None]
        waves = torch.arange(1, 5, device=codes.device) * torch.pi * t
        angle = self.angle(torch.cat([t, waves.sin(), waves.cos()], dim=1)) * (flag == 0)[:, None] + self.flag(flag)
        tokens = torch.stack(
            [self.modality(codes[:, 0].long()), self.fst(codes[:, 1].long()), angle, self.lesion(codes[:, 3].long())],
            dim=1,
        )
        return tokens, tokens.sum(dim=1)

    @torch.no_grad()
    def adopt(self, known_modality: Modality, known_lesions: Sequence[Lesion]) -> None:
        """Start every modality and lesion a base has not seen from those it has: a copy, and the mean."""
        self.modality.weight[:] = self.modality.weight[MODALITIES.index(known_modality)].clone()
        seen = [1 + LESIONS.index(lesion) for lesion in known_lesions]
        mean = self.lesion.weight[seen].mean(dim=0)
        for index in set(range(1, LESION_SLOTS)) - set(seen):
            self.lesion.weight[index] = mean
