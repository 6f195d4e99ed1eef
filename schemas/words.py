"""The vocabulary of the field, as closed sets. Every column that names one of these uses exactly these spellings."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Lesion(StrEnum):
    """Canonical diagnosis. Append only: a generator's class embedding is indexed by position in this list."""

    NEVUS = "nevus"
    MELANOMA = "melanoma"
    BASAL_CELL_CARCINOMA = "basal_cell_carcinoma"
    SEBORRHOEIC_KERATOSIS = "seborrhoeic_keratosis"
    ACTINIC_KERATOSIS = "actinic_keratosis"
    SQUAMOUS_CELL_CARCINOMA = "squamous_cell_carcinoma"
    BENIGN_KERATOSIS = "benign_keratosis"
    DERMATOFIBROMA = "dermatofibroma"
    VASCULAR_LESION = "vascular_lesion"


LESION_SHORT: Final[dict[Lesion, str]] = {
    Lesion.NEVUS: "NEV",
    Lesion.MELANOMA: "MEL",
    Lesion.BASAL_CELL_CARCINOMA: "BCC",
    Lesion.SEBORRHOEIC_KERATOSIS: "SK",
    Lesion.ACTINIC_KERATOSIS: "AK",
    Lesion.SQUAMOUS_CELL_CARCINOMA: "SCC",
    Lesion.BENIGN_KERATOSIS: "BKL",
    Lesion.DERMATOFIBROMA: "DF",
    Lesion.VASCULAR_LESION: "VASC",
}
"""Column heads for tables and sheets too narrow for the full name."""


class Modality(StrEnum):
    """How the picture was made. Never mixed in one stratum; `phantom` can never pass for a patient."""

    CLINICAL = "clinical"
    DERMOSCOPIC = "dermoscopic"
    PHANTOM = "phantom"


class FstSource(StrEnum):
    """Who said which Fitzpatrick type it is. A measured ITA is not on this list, on purpose."""

    EXPERT = "expert"
    SELF = "self"
    CROWD = "crowd"


class Split(StrEnum):
    """Patient-disjoint part of the catalog: generators and classifiers learn from `train` alone."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Support(StrEnum):
    """Whether a stratum has enough real training images to learn from (thresholds: `stratify.support`)."""

    SUPPORTED = "supported"
    BORROWED = "borrowed"
    UNSUPPORTED = "unsupported"


class Kind(StrEnum):
    """Whether a released image is a photograph (or phantom) or was made by a generator."""

    REAL = "real"
    SYNTHETIC = "synthetic"


FST_RANGE: Final = range(1, 7)
"""Fitzpatrick skin types I-VI as 1-6."""

FST_ROMAN: Final[dict[int, str]] = {1: "I", 2: "II", 3: "III", 4: "IV", 5: "V", 6: "VI"}

ITA_BANDS_DEG: Final[dict[int, tuple[float, float]]] = {
    1: (55.0, 90.0),
    2: (41.0, 55.0),
    3: (28.0, 41.0),
    4: (10.0, 28.0),
    5: (-30.0, 10.0),
    6: (-90.0, -30.0),
}
"""ITA class limits in degrees, (low, high], after Chardon et al. 1991 and Del Bino & Bernerd 2013.

On phantoms the rendered FST is *defined* by these bands, so both are exact. On photographs they are not FST: a
measured ITA is never written into `fst`, and the tone gate takes its bands from real images of the stratum instead.
"""


def stratum_name(modality: str, fst: int | None, lesion: str) -> str:
    """Return the stratum's name as used in files and messages, e.g. `phantom/VI/melanoma` (`?` for unknown FST)."""
    return f"{modality}/{FST_ROMAN[fst] if fst else '?'}/{lesion}"
