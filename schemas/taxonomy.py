"""What each publisher's label means in the canonical vocabulary: a reader for taxonomy.csv, one line a label.

A line without a lesion is a label that is known and names no diagnosis (ISIC 2020's `unknown`, say): its rows stay out
as `label_unknown`. A label without a line stays out as `label_unmapped`. Neither is ever guessed.

The `note` column says where a line is a judgement. One lesion has one malignancy and one group in every source, so a
publisher's own verdict may differ (Fitzpatrick17k calls actinic keratosis malignant); the notes say where it does.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from schemas.table import Row
from schemas.words import Lesion, LesionGroup, Malignancy

TAXONOMY_FILE: Final = Path(__file__).with_name("taxonomy.csv")

TAXONOMY_VERSION: Final = "2.0.0"
"""Of the meanings, not of the file's layout. Major: a label changed its lesion. Minor: labels or lesions were added."""


class Diagnosis(Row):
    """One publisher's label and what it means here."""

    source: str
    raw_label: str
    lesion: Lesion | None
    """None: the label names no diagnosis, and its rows stay out of the catalog."""
    malignancy: Malignancy
    group: LesionGroup
    note: str = ""
    """Why, where the line is a judgement."""


@cache
def read_taxonomy(path: Path = TAXONOMY_FILE) -> Mapping[tuple[str, str], Diagnosis]:
    """Return every diagnosis by (dataset, raw label). Labels match exactly, case included.

    Raises:
        ValueError: a label is listed twice, or a row holds a word outside the vocabulary.
    """
    found: dict[tuple[str, str], Diagnosis] = {}
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            diagnosis = Diagnosis.model_validate({**row, "lesion": row["lesion"] or None})
            key = (diagnosis.source, diagnosis.raw_label)
            if key in found:
                raise ValueError(f"{path.name}: {key[0]} lists label {key[1]!r} twice; keep one line")
            found[key] = diagnosis
    return found


@cache
def diagnosis_of(lesion: Lesion) -> Diagnosis:
    """Return what every source says of a lesion: its malignancy and group, for a source that brings its own labels."""
    return next(diagnosis for diagnosis in read_taxonomy().values() if diagnosis.lesion is lesion)


def vocabulary(dataset: str) -> list[str]:
    """Return the labels known for a dataset, sorted."""
    return sorted(label for source, label in read_taxonomy() if source == dataset)


def taxonomy_sha256() -> str:
    """Return the sha256 of taxonomy.csv: a changed meaning must rerun ingest."""
    return hashlib.sha256(TAXONOMY_FILE.read_bytes()).hexdigest()
