"""A model card (Mitchell et al. 2019) beside each checkpoint, filled from what the run measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.licences import most_restrictive
from schemas.table import write_text

_CARD = """# Model card: {generator}

| | |
|---|---|
| weights | `model.safetensors`, sha256 `{sha256}`, float16, averaged over training |
| parameters | {parameters:,} |
| started from | {start} |
| resolution | {resolution} px |
| images seen | {images:,} |
| training images | {training_images:,} from {sources} |
| data snapshot | sha256 `{data_digest}` of image ids and labels |
| lesions | {lesions} |
| Fitzpatrick types present | {fst} |
| licence | {licence} (the most restrictive of its sources: {licences}) |

## Losses

{losses}

## Intended use

To make images for training dermatology classifiers where real ones are missing, inside this factory, whose gates and
ledger say what became of each. Not for diagnosis, not for teaching what a disease looks like, and not as evidence about
any patient.

## Limits

- What it knows of a stratum with few training images it has borrowed from other skin types and lesions.
- {resolution} px: dermoscopic structures smaller than a few pixels are not drawn.
- Its samples were not looked at by a dermatologist.

## Sheets

`sheets/` holds samples by FST x lesion on fixed seeds, every {sheet_every:,} images and at the end (`final.png`).
"""


def write_card(about: dict[str, Any], log: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the card for a finished run; `about` is the checkpoint's config."""
    licence = most_restrictive(about["licences"])
    names = [k for k in (log[0] if log else {}) if k not in ("step", "images")]
    head = "| images | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1)
    chosen = [log[round(i * (len(log) - 1) / 7)] for i in range(8)] if len(log) > 8 else list(log)
    lines = [f"| {row['images']:,} | " + " | ".join(f"{row[n]:.4g}" for n in names) + " |" for row in chosen]
    text = _CARD.format(
        **{
            k: about[k]
            for k in (
                "generator",
                "sha256",
                "parameters",
                "start",
                "resolution",
                "images",
                "training_images",
                "data_digest",
            )
        },
        sources=", ".join(about["sources"]),
        lesions=", ".join(about["lesions"]),
        fst=", ".join(map(str, about["fst"])) or "unknown",
        licence=licence.id,
        licences=", ".join(about["licences"]),
        losses="\n".join([head, *lines]) if log else "none logged",
        sheet_every=about["params"]["sheet_every_images"],
    )
    write_text(text, path)
