"""Publishers' spellings of age, sex, site and skin type in this project's words. Each refuses what it does not know."""

from __future__ import annotations

import math
from typing import Final

from pipelines.sources.interface import Refused
from schemas.words import FST_RANGE

UNKNOWN: Final = frozenset({"", "unknown", "nan", "na", "n/a", "none"})
"""Spellings of "not said" after lower-casing; they become null."""

SEXES: Final = {"female": "female", "f": "female", "male": "male", "m": "male"}

OLDEST: Final = 120


def said(text: str) -> str | None:
    """Return the text without outer blanks, or None where the publisher says nothing."""
    stripped = text.strip()
    return None if stripped.lower() in UNKNOWN else stripped


def fst(text: str, column: str) -> int | None:
    """Return the Fitzpatrick type 1-6, or None; raises Refused for anything else."""
    if said(text) is None:
        return None
    number = _number(text)
    if number is None or number not in FST_RANGE:
        raise _invalid(column, text, "1 to 6 or nothing")
    return int(number)


def age_band(text: str, column: str) -> str | None:
    """Return the decade of an age in years, e.g. `40-49`, or None; raises Refused for anything else.

    An exact age beside a site and a date can name a person, so only the decade goes on.
    """
    if said(text) is None:
        return None
    years = _number(text)
    if years is None or not 0 <= years <= OLDEST:
        raise _invalid(column, text, f"years from 0 to {OLDEST} or nothing")
    decade = int(years) // 10 * 10
    return f"{decade}-{decade + 9}"


def sex(text: str, column: str) -> str | None:
    """Return `female`, `male` or None; raises Refused for anything else."""
    word = said(text)
    if word is None:
        return None
    if word.lower() not in SEXES:
        raise _invalid(column, text, "female, male or nothing")
    return SEXES[word.lower()]


def site(text: str) -> str | None:
    """Return the body site in lower case with underscores, e.g. `lower_extremity`, or None."""
    word = said(text)
    return None if word is None else "_".join(word.lower().split())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _invalid(column: str, text: str, need: str) -> Refused:
    return Refused("value_invalid", f"column {column} holds {text!r}; needs {need}; correct the row")
