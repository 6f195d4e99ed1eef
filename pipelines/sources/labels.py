"""A source's labels and what each means: from the taxonomy, or for your own data from params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipelines.sources.interface import Facts, Refused
from schemas.source_params import FolderSource, GenericSource
from schemas.taxonomy import Diagnosis, diagnosis_of, read_taxonomy, vocabulary
from schemas.words import LesionGroup, Malignancy

SHOWN: Final = 12
"""Known labels that a message lists."""


class Labels:
    """The diagnoses of one source by label. A label that is not there is never guessed."""

    def __init__(self, source: FolderSource, name: str, column: str) -> None:
        """Take the labels of the source's dataset; `column` is what messages call the label."""
        self._column = column
        if isinstance(source, GenericSource):
            self._known = _declared(source, name)
            self._where = f"sources.use.{name}.labels"
        else:
            dataset = source.adapter
            self._known = {label: read_taxonomy()[(dataset, label)] for label in vocabulary(dataset)}
            self._where = "schemas/taxonomy.csv"

    def diagnose(self, facts: Facts) -> Diagnosis:
        """Return what a row's label means.

        Raises:
            Refused: the label is not mapped (`label_unmapped`), names no diagnosis (`label_unknown`), or contradicts
                what the publisher says of the row's malignancy (`labels_disagree`).
        """
        found = self._known.get(facts.label)
        if found is None:
            names = ", ".join(list(self._known)[:SHOWN])
            more = f", ... ({len(self._known)} in all)" if len(self._known) > SHOWN else ""
            raise Refused(
                "label_unmapped",
                f"{self._column} {facts.label!r} is not one of {names}{more}; add a line for it to {self._where}",
            )
        if found.lesion is None:
            why = f" ({found.note})" if found.note else ""
            raise Refused(
                "label_unknown",
                f"{self._column} {facts.label!r} names no diagnosis{why}; needs one; nothing is guessed",
            )
        _check_malignancy(facts, found)
        return found


def _declared(source: GenericSource, name: str) -> Mapping[str, Diagnosis]:
    found = {}
    for label, lesion in sorted(source.labels.items()):
        if lesion is None:
            found[label] = Diagnosis(
                source=name,
                raw_label=label,
                lesion=None,
                malignancy=Malignancy.INDETERMINATE,
                group=LesionGroup.UNSPECIFIED,
                note="kept out by its source's labels",
            )
        else:
            found[label] = diagnosis_of(lesion).model_copy(update={"source": name, "raw_label": label, "note": ""})
    return found


def _check_malignancy(facts: Facts, found: Diagnosis) -> None:
    harmless = found.malignancy in (Malignancy.BENIGN, Malignancy.NON_NEOPLASTIC)
    if (facts.malignant is True and harmless) or (
        facts.malignant is False and found.malignancy is Malignancy.MALIGNANT
    ):
        said = "malignant" if facts.malignant else "benign"
        raise Refused(
            "labels_disagree",
            f"{facts.label!r} is {found.malignancy} by the taxonomy and {said} by its own row; needs one answer; "
            "ask the publisher",
        )
