"""The part of a model card that is about strata: what was learned of each, and from whom a rare one borrows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.strata import StratumRow
from schemas.training import StratumLossRow
from schemas.words import FST_ROMAN, Support, stratum_name


def fairness_section(about: Mapping[str, Any]) -> str:
    """Return which fairness parts were on, with the tone probe's error by FST, as Markdown."""
    cap = about["max_repeats"]
    said = [
        f"- Resampling: a stratum of n images is drawn in proportion to n^{1 - about['resample_power']:g}; "
        + (f"no image more than {cap:g} times as often as in an even draw." if cap else "no cap on repeats.")
    ]
    fairness = about["params"].get("fairness")
    if fairness is None:
        said.append(f"- Group weights and the tone term are for diffusion; {about['generator']} has neither.")
        return "\n".join([*said, *_watched(about["watch"])])
    weights, tone, probe = fairness["group_weights"], fairness["tone"], about["tone_probe"]
    said.append(
        f"- Loss weights by stratum and noise level: within 1/{weights['clamp']:g} to {weights['clamp']:g}."
        if weights["use"]
        else "- Loss weights by stratum: switched off."
    )
    if probe["used"]:
        mix = "labelled" if tone["target"] == "batch" else "equal"
        said.append(f"- Tone term: weight {tone['weight']:g}, towards the {mix} mix of skin types.")
    else:
        said.append(f"- Tone term: not used ({probe['why']}).")
    if probe["recall"]:
        read = ", ".join(
            f"{FST_ROMAN[int(g)]} {1 - r['recall']:.2f} of {r['images']}" for g, r in sorted(probe["recall"].items())
        )
        said.append(
            f"- Its probe's error on validation images, by FST: {read}. Nothing else is measured with this probe."
        )
    return "\n".join([*said, *_watched(about["watch"])])


def _watched(watch: Mapping[str, Any]) -> list[str]:
    if watch["best_worst_kid"] is None:
        return []
    end = "stopped early" if watch["stopped_early"] else "ran its budget"
    return [
        f"- Watched: {end}; the weights are those after {watch['best_images']:,} images, where the worst group's KID was "
        f"least ({watch['best_worst_kid']:.3f})."
    ]


def strata_section(strata: Sequence[StratumRow], losses: Sequence[StratumLossRow]) -> str:
    """Return a Markdown table of the strata with a training image: support, last loss and weight, who lends to it."""
    last = max((row.images for row in losses), default=0)
    lines = [
        "| stratum | training images | support | loss | weight | borrows |",
        "|---|---|---|---|---|---|",
    ]
    for stratum in (s for s in strata if s.n_train > 0):
        mine = [
            r for r in losses
            if r.images == last and (r.modality, r.fst, r.lesion) == (stratum.modality, stratum.fst, stratum.lesion)
        ]  # fmt: skip
        shown = sum(r.shown for r in mine)
        loss = f"{sum(r.relative * r.shown for r in mine) / shown:.2f}" if shown else ""
        weight = f"{sum(r.weight * r.shown for r in mine) / shown:.2f}" if shown else ""
        name = stratum_name(stratum.modality.value, stratum.fst, stratum.lesion.value)
        lender = lenders(stratum, strata)
        lines.append(f"| {name} | {stratum.n_train} | {stratum.support.value} | {loss} | {weight} | {lender} |")
    return "\n".join(lines)


def lenders(stratum: StratumRow, strata: Sequence[StratumRow]) -> str:
    """Return what a borrowed stratum leans on: its skin type in other lesions, its lesion on other skin types.

    Tone and lesion are separate tokens that are dropped apart in training, so each is learned from all its images.
    Empty for a supported stratum; an unsupported one is refused by produce unless told otherwise.
    """
    if stratum.support == Support.SUPPORTED:
        return ""
    if stratum.support == Support.UNSUPPORTED:
        return "below the floor: refused"
    others = [s for s in strata if s.modality == stratum.modality and s is not stratum]
    same_tone = sum(s.n_train for s in others if s.fst == stratum.fst)
    same_lesion = sum(s.n_train for s in others if s.lesion == stratum.lesion and s.fst != stratum.fst)
    fst = f"FST {FST_ROMAN[stratum.fst]}" if stratum.fst else "unknown FST"
    return (
        f"borrowed: tone from {same_tone} images of other lesions on {fst}, "
        f"lesion from {same_lesion} of {stratum.lesion.value} on other skin types"
    )
