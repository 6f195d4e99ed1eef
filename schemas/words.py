"""The vocabulary of the field, as closed sets. Every column that names one of these uses exactly these spellings."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from schemas.lesions import LESION_SHORT as LESION_SHORT
from schemas.lesions import Lesion as Lesion
from schemas.lesions import LesionGroup as LesionGroup
from schemas.lesions import Malignancy as Malignancy


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


class ToneGroup(StrEnum):
    """A range of Fitzpatrick types, where a publisher gives no single one (DDI)."""

    I_II = "12"
    III_IV = "34"
    V_VI = "56"


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


class ColourConstancy(StrEnum):
    """How the light's colour was removed before anything was measured. `none`: pixels as published."""

    NONE = "none"
    GREY_WORLD = "grey_world"
    SHADES_OF_GREY = "shades_of_grey"


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


def parse_stratum(name: str) -> tuple[Modality, int | None, Lesion]:
    """Return modality, FST (None for `?`) and lesion of a name as `stratum_name` writes it.

    Raises:
        ValueError: it is not such a name, or holds a word that is not in the vocabulary.
    """
    parts = name.split("/")
    fsts = {roman: fst for fst, roman in FST_ROMAN.items()}
    known = len(parts) == 3 and (parts[1] in fsts or parts[1] == "?")
    if not known or parts[0] not in set(Modality) or parts[2] not in set(Lesion):
        raise ValueError(
            f"stratum {name!r} is not known; a stratum is a modality ({', '.join(Modality)}), an FST (I to VI, or ? for "
            "unknown) and a lesion of schemas/lesions.py, e.g. phantom/VI/melanoma; correct the name"
        )
    return Modality(parts[0]), fsts.get(parts[1]), Lesion(parts[2])
