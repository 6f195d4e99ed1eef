"""Conditions as codes: unknown is not null, and tone and lesion are dropped apart."""

from __future__ import annotations

import torch

from pipelines.generators.checkpoint import load_checkpoint
from pipelines.generators.conditioning import (
    FST_NULL,
    FST_UNKNOWN,
    ITA_NULL,
    ITA_UNKNOWN,
    LESION_SLOTS,
    Conditioner,
    drop,
    encode,
    grow_lesions,
    without_lesion,
    without_tone,
)
from pipelines.generators.draws import step_draws
from pipelines.generators.interface import Condition
from pipelines.generators.registry import BASE
from schemas.words import Lesion, Modality

KNOWN = Condition(Modality.PHANTOM, 6, Lesion.MELANOMA, -40.0)
UNKNOWN = Condition(Modality.DERMOSCOPIC, None, Lesion.NEVUS, None)


def test_unknown_is_a_value_of_its_own() -> None:
    codes = encode([KNOWN, UNKNOWN])
    assert codes[0].tolist() == [2, 6, -40, 2]
    assert codes[1].tolist() == [1, FST_UNKNOWN, ITA_UNKNOWN, 1]
    net = Conditioner(16)
    assert not torch.allclose(net(codes[1:])[1], net(without_tone(codes[1:]))[1])


def test_tone_and_lesion_are_dropped_independently_at_the_asked_rates() -> None:
    codes = encode([KNOWN] * 20_000)
    dropped = drop(codes, 0.1, 0.2, 0.05, 0.0, step_draws(0, 0))
    no_tone, no_lesion = dropped[:, 1] == FST_NULL, dropped[:, 3] == 0
    assert torch.equal(no_tone, dropped[:, 2] == ITA_NULL)
    shares = [float(x.float().mean()) for x in (no_tone & ~no_lesion, no_lesion & ~no_tone, no_tone & no_lesion)]
    assert all(abs(got - want) < 0.01 for got, want in zip(shares, (0.1, 0.2, 0.05), strict=True)), shares


def test_unknown_share_hides_fst_and_keeps_the_angle() -> None:
    dropped = drop(encode([KNOWN] * 5000), 0, 0, 0, 0.3, step_draws(1, 0))
    hidden = dropped[:, 1] == FST_UNKNOWN
    assert abs(float(hidden.float().mean()) - 0.3) < 0.03
    assert (dropped[:, 2] == -40).all()


def test_the_shipped_bases_grow_to_every_lesion_and_keep_what_they_know() -> None:
    for name in ("diffusion", "gan"):
        checkpoint = load_checkpoint(BASE / name, name)
        grown = grow_lesions(checkpoint.tensors)
        tables = [key for key in grown if key.endswith("lesion.weight")]
        assert tables
        for key in tables:
            before, after = checkpoint.tensors[key], grown[key]
            assert len(after) == LESION_SLOTS
            assert torch.equal(after[: len(before)], before)
    small = {"net.lesion.weight": torch.randn(32, 4), "net.fst.weight": torch.randn(8, 4)}
    grown = grow_lesions(small)
    assert torch.equal(grown["net.lesion.weight"][:32], small["net.lesion.weight"])
    assert torch.allclose(grown["net.lesion.weight"][200], small["net.lesion.weight"][1:].mean(dim=0))
    assert grown["net.fst.weight"] is small["net.fst.weight"]
    assert len(Lesion) < LESION_SLOTS
    assert encode([Condition(Modality.CLINICAL, 3, list(Lesion)[-1], 0.0)])[0, 3] == len(Lesion)


def test_adopted_lesions_and_modalities_start_from_what_is_known() -> None:
    net = Conditioner(8)
    torch.nn.init.normal_(net.modality.weight)
    known = [Lesion.NEVUS, Lesion.MELANOMA]
    before = net.lesion.weight.detach().clone()
    net.adopt(Modality.PHANTOM, known)
    assert torch.equal(net.modality.weight[0], net.modality.weight[2])
    assert torch.equal(net.lesion.weight[1:3], before[1:3])
    assert torch.allclose(net.lesion.weight[5], before[1:3].mean(dim=0))
    assert torch.equal(without_lesion(encode([KNOWN]))[0, :3], encode([KNOWN])[0, :3])
