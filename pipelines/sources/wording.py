"""Publishers' spellings of age, sex, site and skin type in this project's words. Each refuses what it does not know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from pipelines.sources.interface import Refused
from schemas.words import FST_RANGE, ToneGroup

UNKNOWN: Final = frozenset({"", "unknown", "nan", "na", "n/a", "none"})
"""Spellings of "not said" after lower-casing; they become null."""

SEXES: Final = {"female": "female", "f": "female", "male": "male", "m": "male"}

TRUTHS: Final = {
    "true": True,
    "yes": True,
    "1": True,
    "1.0": True,
    "false": False,
    "no": False,
    "0": False,
    "0.0": False,
}

OLDEST: Final = 120


def said(text: str) -> str | None:
    """Return the text without outer blanks, or None where the publisher says nothing."""
    stripped = text.strip()
    return None if stripped.lower() in UNKNOWN else stripped


def fst(text: str, column: str) -> int | None:
    """Return the Fitzpatrick type 1-6, or None; raises Refused for anything else."""
    return grade(text, column, FST_RANGE)


def grade(text: str, column: str, allowed: range) -> int | None:
    """Return a whole number of a scale, or None; raises Refused for anything else."""
    if said(text) is None:
        return None
    number = _number(text)
    if number is None or number not in allowed:
        raise invalid(column, text, f"{allowed[0]} to {allowed[-1]} or nothing")
    return int(number)


def truth(text: str, column: str) -> bool | None:
    """Return yes or no in the spellings tables use, or None; raises Refused for anything else."""
    word = said(text)
    if word is None:
        return None
    if word.lower() not in TRUTHS:
        raise invalid(column, text, "true, false or nothing")
    return TRUTHS[word.lower()]


def tone_group(text: str, column: str) -> ToneGroup | None:
    """Return a range of skin types, or None; raises Refused for anything else."""
    word = said(text)
    if word is None:
        return None
    if word not in set(ToneGroup):
        raise invalid(column, text, "12, 34, 56 or nothing")
    return ToneGroup(word)


def one_hot(row: Mapping[str, str], columns: Sequence[str]) -> str:
    """Return the one column that holds 1; raises Refused where none or several do, or one holds neither 0 nor 1."""
    for column in columns:
        if _number(row[column]) not in (0, 1):
            raise invalid(column, row[column], "0 or 1")
    chosen = [column for column in columns if _number(row[column]) == 1]
    if len(chosen) != 1:
        got = f"columns {', '.join(chosen)} hold 1" if chosen else f"none of {', '.join(columns)} holds 1"
        raise Refused("label_ambiguous", f"{got}; needs exactly one; correct the row")
    return chosen[0]


def age_band(text: str, column: str) -> str | None:
    """Return the decade of an age in years, e.g. `40-49`, or None; raises Refused for anything else.

    An exact age beside a site and a date can name a person, so only the decade goes on.
    """
    if said(text) is None:
        return None
    years = _number(text)
    if years is None or not 0 <= years <= OLDEST:
        raise invalid(column, text, f"years from 0 to {OLDEST} or nothing")
    decade = int(years) // 10 * 10
    return f"{decade}-{decade + 9}"


def sex(text: str, column: str) -> str | None:
    """Return `female`, `male` or None; raises Refused for anything else."""
    word = said(text)
    if word is None:
        return None
    if word.lower() not in SEXES:
        raise invalid(column, text, "female, male or nothing")
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


def invalid(column: str, text: str, need: str) -> Refused:
    """Return the refusal of a value outside the vocabulary."""
    return Refused("value_invalid", f"column {column} holds {text!r}; needs {need}; correct the row")
