"""What each publisher's label means in the canonical vocabulary: a reader for taxonomy.csv, one line a label.

Two entries are judgements. HAM10000's `akiec` mixes actinic keratosis with Bowen's disease (squamous carcinoma in
situ) and cannot be told apart from the table, so it is called actinic keratosis, premalignant. Its `bkl` mixes
seborrhoeic keratosis, solar lentigo and lichen-planus-like keratosis, so it is a class of its own and is never
merged with PAD-UFES-20's `SEK`.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

from schemas.table import Row
from schemas.words import Lesion

TAXONOMY_FILE: Final = Path(__file__).with_name("taxonomy.csv")


class Malignancy(StrEnum):
    """How dangerous the diagnosis is, as the label says it, not as a biopsy confirmed it."""

    BENIGN = "benign"
    PREMALIGNANT = "premalignant"
    MALIGNANT = "malignant"


class Diagnosis(Row):
    """One publisher's label and what it means here."""

    source: str
    raw_label: str
    lesion: Lesion
    malignancy: Malignancy
    group: str


@cache
def read_taxonomy(path: Path = TAXONOMY_FILE) -> Mapping[tuple[str, str], Diagnosis]:
    """Return every diagnosis by (dataset, raw label). Labels match exactly, case included.

    Raises:
        ValueError: a label is listed twice, or a row holds a word outside the vocabulary.
    """
    found: dict[tuple[str, str], Diagnosis] = {}
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            diagnosis = Diagnosis.model_validate(row)
            key = (diagnosis.source, diagnosis.raw_label)
            if key in found:
                raise ValueError(f"{path.name}: {key[0]} lists label {key[1]!r} twice; keep one line")
            found[key] = diagnosis
    return found


def vocabulary(dataset: str) -> list[str]:
    """Return the labels known for a dataset, sorted."""
    return sorted(label for source, label in read_taxonomy() if source == dataset)


def taxonomy_sha256() -> str:
    """Return the sha256 of taxonomy.csv: a changed meaning must rerun ingest."""
    return hashlib.sha256(TAXONOMY_FILE.read_bytes()).hexdigest()
