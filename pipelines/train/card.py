"""A model card (Mitchell et al. 2019) beside each checkpoint, filled from what the run measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.train.strata_card import fairness_section, strata_section
from schemas.licences import most_restrictive
from schemas.strata import StratumRow
from schemas.table import write_text
from schemas.training import StratumLossRow

_CARD = """# Model card: {generator}

| | |
|---|---|
| weights | `model.safetensors`, sha256 `{sha256}`, float16, {average} |
| parameters | {parameters:,} |
| started from | {start} |
| works on | {works_on} |
| resolution | {resolution} px |
| images seen | {images:,} |
| training images | {training_images:,} from {sources} |
| data snapshot | sha256 `{data_digest}` of image ids and labels |
| lesions | {lesions} |
| Fitzpatrick types present | {fst} |
| licence | {licence} (the most restrictive of its sources: {licences}) |

## Losses

{losses}

## The average

{lengths}

## Round trip of the autoencoder

{round_trip}

## Fairness in training

{fairness}

## Strata

Loss: over that of all strata at the same noise levels, last record (1 is like the rest; it is no measure of a picture's
quality). Weight: mean over noise levels. `losses_by_stratum.parquet` has both over time.

{strata}

## Intended use

To make images for training dermatology classifiers where real ones are missing, inside this factory, whose gates and
ledger say what became of each. Not for diagnosis, not for teaching what a disease looks like, and not as evidence about
any patient.

## Limits

- What it knows of a `borrowed` stratum it has from other skin types and lesions, as the table above says.
- {resolution} px: dermoscopic structures smaller than a few pixels are not drawn.
- Its samples were not looked at by a dermatologist.

## Sheets

`sheets/` holds samples by FST x lesion on fixed seeds, every {sheet_every:,} images and at the end (`final.png`).{sampler}
"""


_BASE_CARD = """# Model card: the phantom base of {generator}

| | |
|---|---|
| weights | `model.safetensors`, sha256 `{sha256}`, float16, {average} |
| parameters | {parameters:,} |
| resolution | {resolution} px |
| trained on | {phantoms:,} phantoms (version {phantom_version}, seed {phantom_seed}), every FST and lesion alike |
| images seen | {seen} |
| guiding network | {guided} |
| discriminative rounds | {rounds} |
| lesions | {lesions} |
| licence | {licence}; no patient, no third party's pictures |

Made by `python -m pipelines.train.base {generator}`{again}; losses{of_which} in `losses.parquet`, samples in `sheet.png`.

## Losses

{losses}

## The average

{lengths}

## Fairness in training

{fairness}

## Intended use

The weights every build starts from (`train.{generator}.start: base`). It knows tone and lesion as separate axes of
*drawn* skin. It has seen every stratum of the phantoms, so an experiment about scarcity or fairness on phantoms must
start from scratch or say so. Not for diagnosis; its lesions are drawings of textbook rules.
"""


def write_card(
    about: dict[str, Any], log: Sequence[dict[str, Any]], losses: Sequence[StratumLossRow], strata: Sequence[StratumRow],
    path: Path, round_trip: str | None = None,
) -> None:  # fmt: skip
    """Write the card for a finished run.

    Args:
        about: the checkpoint's config.
        strata: how they are classed.
        round_trip: what was measured of its autoencoder, if it has one.
    """
    licence = most_restrictive(about["licences"])
    text = _CARD.format(
        **{
            k: about[k]
            for k in (
                "generator",
                "sha256",
                "parameters",
                "resolution",
                "images",
                "training_images",
                "data_digest",
            )
        },
        start=_start(about),
        average=_average(about["average"]),
        lengths=_lengths(about),
        works_on=_works_on(about),
        round_trip=round_trip or "None: it works without a learned autoencoder.",
        sources=", ".join(about["sources"]),
        lesions=", ".join(about["lesions"]),
        fst=", ".join(map(str, about["fst"])) or "unknown",
        licence=licence.id,
        licences=", ".join(about["licences"]),
        losses=_losses(log),
        fairness=fairness_section(about),
        strata=strata_section(strata, losses),
        sheet_every=about["params"]["sheet_every_images"],
        sampler=_sampler(about),
    )
    write_text(text, path)


def _average(average: dict[str, Any]) -> str:
    return f"averaged with a power-function profile of length {average['length']:g} of the run"


def _lengths(about: dict[str, Any]) -> str:
    """Return how the length of the average came about, as Markdown."""
    if not about["lengths"]:
        return f"Its length was set to {about['average']['length']:g} beforehand."
    why = "Chosen when the training was done: the lowest worst group's KID to held-out images."
    head = f"{why}\n\n| length | worst KID | group |\n|---|---|---|"
    rows = [
        f"| {r['length']:g} | "
        + (
            "not made up by the snapshots | |"
            if r["worst_kid"] is None
            else f"{r['worst_kid']:.4f} | {r['worst_group']} |"
        )
        for r in about["lengths"]
    ]
    return "\n".join([head, *rows])


def _sampler(about: dict[str, Any]) -> str:
    """Return how the pictures by which the run was shown and judged were drawn, as Markdown; "" without settings."""
    if not about.get("sampler"):
        return ""
    settings = ", ".join(f"{k} {v}" for k, v in about["sampler"].items())
    return f"\nThey, and whatever the run was judged by, were drawn with `produce.sampler` as it was then: {settings}."


def _start(about: dict[str, Any]) -> str:
    if base := about.get("base"):
        place = base["path"] or f"{base['hub']} at {base['revision']}"
        return (
            f"{place}, sha256 `{base['sha256']}`, {base['licence']}; here are its adapters (LoRA) and conditions only"
        )
    return str(about["start"])


def _works_on(about: dict[str, Any]) -> str:
    if about.get("base"):
        return "planes of the base's autoencoder"
    if autoencoder := about.get("autoencoder"):
        return f"planes of the autoencoder {autoencoder['path']}, sha256 `{autoencoder['sha256']}`"
    return {"pixel": "pixels, folded {} px a side".format(about.get("pixel_block"))}.get(
        about.get("space", ""), "block cosines (spectral)"
    )


def write_base_card(about: dict[str, Any], log: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the card of a shipped base."""
    before = about.get("before", [])
    known = {
        **about,
        "phantom_seed": about.get("phantom_seed", about["seed"]),
        "lesions": ", ".join(about["lesions"]),
        "losses": _losses(log),
        "guided": _guiding(about),
        "rounds": ", then ".join(_round(r) for r in about.get("discriminative", [])) or "none",
        "seen": ", then ".join(_training(t) for t in [*before, about]),
        "again": (", then again with `--start`" if before else "")
        + (", then `python -m pipelines.train.base_guiding`" if about.get("guiding") else "")
        + (
            ", then `python -m pipelines.train.base_discriminative` for each round "
            "(how the shipped ones differ: docs/decisions/0021)"
            if about.get("discriminative")
            else ""
        ),
        "of_which": " of the last training" if before else "",
        "average": _average(about["average"]),
        "lengths": _lengths(about),
        "fairness": fairness_section(about),
    }
    write_text(_BASE_CARD.format(**known), path)


def _guiding(about: dict[str, Any]) -> str:
    if not about.get("guiding"):
        return "none"
    learned = about["guiding"]
    return (
        f"{', '.join(map(str, about['guiding_widths']))} feature maps; {learned['images']:,} images, batch {learned['batch']}, "
        f"{learned['optimizer']} at learning rate {learned['learning_rate']:g}"
    )


def _round(of: dict[str, Any]) -> str:
    fst, lesions = ("/".join(f"{share:.2f}" for share in of[name]) for name in ("fst_shares", "lesion_shares"))
    return (
        f"{of['own']:,} own samples against {of['phantoms']:,} phantoms, FST I-VI {fst}, lesions {lesions}: {of['images']:,} "
        f"images, batch {of['batch']}, {of['optimizer']} at learning rate {of['learning_rate']:g}"
        + (f", {len(of['stayed'])} cells held as they were" if of.get("stayed") else "")
        + ("" if of["taken"] == 1 else f", {of['taken']:g} of the way taken")
    )


def _training(of: dict[str, Any]) -> str:
    return (
        f"{of['images']:,} of {of['phantoms']:,} phantoms, batch {of['batch']}, {of['optimizer']} "
        f"at learning rate {of['learning_rate']:g}"
    )


def _losses(log: Sequence[dict[str, Any]]) -> str:
    """Return eight rows of the log, evenly spaced, as a Markdown table."""
    if not log:
        return "none logged"
    names = [k for k in log[0] if k not in ("step", "images")]
    head = "| images | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1)
    chosen = [log[round(i * (len(log) - 1) / 7)] for i in range(8)] if len(log) > 8 else list(log)
    return "\n".join(
        [head, *(f"| {row['images']:,} | " + " | ".join(f"{row[n]:.4g}" for n in names) + " |" for row in chosen)]
    )
