"""Give a recipe its fairness parts before a run, and read from them which strata are learned worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipelines.generators.fairness import Fairness, GroupWeights, ToneTerm
from pipelines.generators.interface import Recipe
from pipelines.probes.tone import fit_tone_probe, mean_readings, recall_by_fst
from pipelines.train.data import Stratum, TrainingSet
from schemas.train_params import FairnessParams, ToneTermParams
from schemas.words import stratum_name

NAME = "fairness"
"""Of the child of a recipe's `net`."""


@dataclass(frozen=True)
class ProbeReport:
    """How well the tone probe reads real images it was not fitted on, and whether the term was therefore used."""

    recall: dict[int, tuple[int, float]]  # by FST: images, share read as that type
    used: bool
    why: str

    @property
    def mean_recall(self) -> float | None:
        """Return the recall, 0-1, every type counting alike; None without images."""
        return sum(r for _, r in self.recall.values()) / len(self.recall) if self.recall else None

    def plain(self) -> dict[str, Any]:
        """Return it JSON-able, for a checkpoint's config."""
        recall = {str(fst): {"images": n, "recall": share} for fst, (n, share) in self.recall.items()}
        return {"used": self.used, "why": self.why, "recall": recall}


def attach_fairness(
    recipe: Recipe, params: FairnessParams, data: TrainingSet, held_out: TrainingSet | None, seed: int
) -> ProbeReport:
    """Add the child `fairness` to the recipe's network and return what is known of its tone probe.

    The probe is fitted on `data` and judged on `held_out`; below `tone.least_recall`, or with nothing to judge it on,
    the term is left out: a pull by a reader that cannot read would be noise with a direction.
    """
    tone, report = _tone_term(params.tone, data, held_out, seed)
    net = recipe.net
    assert isinstance(net, nn.ModuleDict)
    net[NAME] = Fairness(len(data.strata), params, tone)
    return report


def _tone_term(
    params: ToneTermParams, data: TrainingSet, held_out: TrainingSet | None, seed: int
) -> tuple[ToneTerm | None, ProbeReport]:
    if params.weight == 0:
        return None, ProbeReport({}, False, "switched off")
    if len(set(data.fst.tolist()) - {0}) < 2:
        return None, ProbeReport({}, False, "fewer than two skin types are labelled")
    probe = fit_tone_probe(data.pixels, data.fst, seed)
    recall = recall_by_fst(probe, held_out.pixels, held_out.fst) if held_out is not None else {}
    report = ProbeReport(recall, True, "")
    if report.mean_recall is None:
        return None, ProbeReport(recall, False, "no labelled validation image to judge its probe on")
    if report.mean_recall < params.least_recall:
        why = f"its probe's mean recall is {report.mean_recall:.2f}, {params.least_recall:g} is needed"
        return None, ProbeReport(recall, False, why)
    return ToneTerm(probe, mean_readings(probe, data.pixels, data.fst), params), report


def stratum_losses(net: nn.Module, strata: Sequence[Stratum], images: int) -> list[dict[str, Any]]:
    """Return one row for each stratum and noise level seen so far; [] for a recipe without group losses."""
    groups = _groups(net)
    if groups is None:
        return []
    return [
        {
            "images": images, "modality": strata[g][0].value, "fst": strata[g][1], "lesion": strata[g][2].value,
            "noise_bin": b, "shown": int(groups.seen[g, b]), "loss": float(groups.loss[g, b]),
            "relative": float(groups.relative[g, b]), "weight": float(groups.weight[g, b]),
        }
        for g, b in torch.nonzero(groups.seen).tolist()
    ]  # fmt: skip


def worst_stratum(net: nn.Module, strata: Sequence[Stratum]) -> dict[str, Any]:
    """Return the name of the stratum with the highest loss relative to its noise levels', and that ratio; {} if none."""
    groups = _groups(net)
    if groups is None or not bool((groups.seen > 0).any()):
        return {}
    relative = groups.by_group()
    worst = int(relative.argmax())
    modality, fst, lesion = strata[worst]
    return {"worst_stratum": stratum_name(modality.value, fst, lesion.value), "worst_relative": float(relative[worst])}


def _groups(net: nn.Module) -> GroupWeights | None:
    part = getattr(net, NAME, None)
    return part.groups if isinstance(part, Fairness) else None
