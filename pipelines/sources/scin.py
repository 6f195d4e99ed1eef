"""SCIN: photographs that people took of their own skin, up to three a case, with dermatologists' differentials.

Ward et al., JAMA Network Open 7 (2024) e2446615. `scin_cases.csv` and `scin_labels.csv`, in the folder or in `dataset/`,
above `images/`. A row here is one image; a case without any is one row without an image.

- Label: the likeliest of `weighted_skin_condition_label`, if it has at least half the weight and more than any other;
  its weight goes into `label_weight`. Otherwise the row stays out as `label_ambiguous`.
- `fst`: the type that most of the dermatologists who judged it agree on, null where they do not. `fst_second`: the type
  worked out from the person's own answers. Neither stands in for the other.
- `monk`: graders in the United States. `monk_second`: graders in India.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pipelines.sources import wording
from pipelines.sources.folder import SourceFolder
from pipelines.sources.interface import Facts, Refused, SourceReader
from pipelines.sources.naming import last_part
from pipelines.sources.table import RawRow, RawTable, expand, join, read_csv
from pipelines.sources.tabular import Layout, TabularReader
from schemas.paths import Workspace
from schemas.source_params import ScinSource
from schemas.words import FST_RANGE, FstSource, Modality

IMAGES: Final = ("image_1_path", "image_2_path", "image_3_path")
CASES: Final = ("case_id", "age_group", "sex_at_birth", "fitzpatrick_skin_type", *IMAGES)
WEIGHTS: Final = "weighted_skin_condition_label"
TYPES: Final = tuple(f"dermatologist_fitzpatrick_skin_type_label_{n}" for n in (1, 2, 3))
MONK: Final = ("monk_skin_tone_label_us", "monk_skin_tone_label_india")
MONK_RANGE: Final = range(1, 11)
LEAST_WEIGHT: Final = 0.5
LONGEST_DIFFERENTIAL: Final = 10_000
"""Characters."""


def open_reader(name: str, source: ScinSource, workspace: Workspace) -> SourceReader:
    """Return the source, opened; raises SourceError if its folder, tables, columns or images are missing."""
    return TabularReader(name, LAYOUT, source, workspace)


def _read(folder: SourceFolder) -> RawTable:
    cases = read_csv(folder.table(["scin_cases.csv", "dataset/scin_cases.csv"]), CASES, folder.source)
    columns = ("case_id", WEIGHTS, *TYPES, *MONK)
    labels = read_csv(folder.table(["scin_labels.csv", "dataset/scin_labels.csv"]), columns, folder.source)
    return expand(join(cases, labels, "case_id"), _images)


def _images(row: RawRow) -> list[RawRow]:
    """Return one row an image; a damaged case, or one without images, is one row as it is."""
    named = [row.values[column].strip() for column in IMAGES if row.values.get(column, "").strip()]
    if row.fault or not named:
        return [
            replace(row, values={**row.values, "image": "", "row": f"case {row.values.get('case_id', '')}".strip()})
        ]
    return [
        replace(row, values={**row.values, "image": last_part(path), "row": last_part(path)})
        for path in dict.fromkeys(named)
    ]


def _interpret(row: Mapping[str, str]) -> Facts:
    label, weight = _likeliest(row[WEIGHTS])
    expert, own = _agreed(row), _type(row["fitzpatrick_skin_type"], "fitzpatrick_skin_type")
    return Facts(
        label=label,
        label_weight=weight,
        patient=wording.said(row["case_id"]),
        lesion=wording.said(row["case_id"]),
        fst=expert,
        fst_source=FstSource.EXPERT if expert else None,
        fst_second=own,
        fst_second_source=FstSource.SELF if own else None,
        site=_site(row),
        age_band=_age_band(row["age_group"]),
        sex=None if row["sex_at_birth"].startswith("OTHER") else wording.sex(row["sex_at_birth"], "sex_at_birth"),
        monk=wording.grade(row[MONK[0]], MONK[0], MONK_RANGE),
        monk_second=wording.grade(row[MONK[1]], MONK[1], MONK_RANGE),
    )


def _likeliest(text: str) -> tuple[str, float]:
    """Return the label and weight of a differential; raises Refused where there is none or it decides nothing."""
    weights = _differential(text)
    if not weights:
        raise Refused("label_missing", f"{WEIGHTS} is empty; needs a dermatologist's label; nothing is guessed")
    label = max(weights, key=lambda name: weights[name])
    rivals = [weight for name, weight in weights.items() if name != label]
    if weights[label] < LEAST_WEIGHT or weights[label] <= max(rivals, default=0):
        raise Refused(
            "label_ambiguous",
            f"{WEIGHTS}: {label!r} has {weights[label]:g}, the next {max(rivals, default=0):g}; "
            f"needs {LEAST_WEIGHT:g} and more than any other; nothing is guessed",
        )
    return label.strip(), weights[label]


def _differential(text: str) -> dict[str, float]:
    """Return a printed dictionary of condition to weight. Only literals are read; nothing in it can run."""
    if wording.said(text) is None:
        return {}
    try:
        found = ast.literal_eval(text.strip()) if len(text) <= LONGEST_DIFFERENTIAL else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight <= 1
        for name, weight in found.items()
    ):
        raise wording.invalid(WEIGHTS, text[:200], "a dictionary of condition to weight 0-1")
    return {name: float(weight) for name, weight in found.items()}


def _agreed(row: Mapping[str, str]) -> int | None:
    """Return the type that more than half of the dermatologists who gave one agree on."""
    given = [found for column in TYPES if (found := _type(row[column], column)) is not None]
    best, votes = max(Counter(given).items(), key=lambda item: item[1], default=(None, 0))
    return best if 2 * votes > len(given) else None


def _type(text: str, column: str) -> int | None:
    word = text.strip().upper()
    return None if word == "NONE_SELECTED" else wording.grade(word.removeprefix("FST"), column, FST_RANGE)


def _site(row: Mapping[str, str]) -> str | None:
    """Return the body part, where the person ticked exactly one."""
    prefix = "body_parts_"
    ticked = [name for name, text in row.items() if name.startswith(prefix) and text.strip().upper() in ("YES", "TRUE")]
    return ticked[0].removeprefix(prefix).lower() if len(ticked) == 1 else None


def _age_band(text: str) -> str | None:
    word = text.strip().upper()
    if wording.said(word) is None or word == "AGE_UNKNOWN":
        return None
    if word not in AGES:
        raise wording.invalid("age_group", text, f"one of {', '.join(AGES)} or nothing")
    return AGES[word]


AGES: Final = {"AGE_18_TO_29": "18-29", "AGE_80_OR_ABOVE": f"80-{wording.OLDEST}"} | {
    f"AGE_{decade}_TO_{decade + 9}": f"{decade}-{decade + 9}" for decade in range(30, 80, 10)
}

LAYOUT = Layout(
    dataset="scin",
    modality=Modality.CLINICAL,
    read=_read,
    row_id="row",
    label=WEIGHTS,
    image="image",
    image_folders=("images", "dataset"),
    image_names=lambda name: (name,),
    interpret=_interpret,
    is_image=lambda path: not path.lower().endswith((".csv", ".md", ".txt")),
)
