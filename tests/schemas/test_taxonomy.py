"""Every label of every dataset has one meaning, in words that exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.licences import DATASETS
from schemas.taxonomy import Malignancy, read_taxonomy, vocabulary
from schemas.words import Lesion

HEADER = "source,raw_label,lesion,malignancy,group\n"


def test_every_dataset_has_labels_and_every_label_a_dataset() -> None:
    assert {source for source, _ in read_taxonomy()} == set(DATASETS)


def test_phantom_labels_are_the_words_themselves() -> None:
    assert vocabulary("phantom") == sorted(str(lesion) for lesion in Lesion)
    assert all(d.lesion == raw for (source, raw), d in read_taxonomy().items() if source == "phantom")


def test_one_lesion_has_one_malignancy_and_group() -> None:
    seen: dict[Lesion, tuple[Malignancy, str]] = {}
    for diagnosis in read_taxonomy().values():
        assert seen.setdefault(diagnosis.lesion, (diagnosis.malignancy, diagnosis.group)) == (
            diagnosis.malignancy,
            diagnosis.group,
        )
    assert seen[Lesion.MELANOMA][0] is Malignancy.MALIGNANT


def test_ham_bkl_is_not_pad_sek() -> None:
    found = read_taxonomy()
    assert found[("ham10000", "bkl")].lesion is Lesion.BENIGN_KERATOSIS
    assert found[("pad_ufes_20", "SEK")].lesion is Lesion.SEBORRHOEIC_KERATOSIS


@pytest.mark.parametrize(
    ("body", "error", "match"),
    [
        ("x,A,nevus,benign,g\nx,A,melanoma,malignant,g\n", ValueError, "x lists label 'A' twice"),
        ("x,A,wart,benign,g\n", ValidationError, "lesion"),
        ("x,A,nevus,harmless,g\n", ValidationError, "malignancy"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, body: str, error: type[Exception], match: str) -> None:
    path = tmp_path / "taxonomy.csv"
    path.write_text(HEADER + body)
    with pytest.raises(error, match=match):
        read_taxonomy(path)
