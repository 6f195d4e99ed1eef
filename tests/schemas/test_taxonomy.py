"""Every label of every dataset has one meaning, in words that exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.licences import DATASETS
from schemas.taxonomy import diagnosis_of, read_taxonomy, vocabulary
from schemas.words import Lesion, LesionGroup, Malignancy

HEADER = "source,raw_label,lesion,malignancy,group,note\n"


def test_every_dataset_has_labels_and_every_label_a_dataset() -> None:
    assert {source for source, _ in read_taxonomy()} == set(DATASETS)


def test_phantom_labels_are_the_words_themselves() -> None:
    assert vocabulary("phantom") == sorted(str(lesion) for lesion in list(Lesion)[:9])
    assert all(d.lesion == raw for (source, raw), d in read_taxonomy().items() if source == "phantom")


def test_one_lesion_has_one_malignancy_and_group() -> None:
    seen: dict[Lesion, tuple[Malignancy, LesionGroup]] = {}
    for diagnosis in read_taxonomy().values():
        if diagnosis.lesion is None:
            continue
        assert seen.setdefault(diagnosis.lesion, (diagnosis.malignancy, diagnosis.group)) == (
            diagnosis.malignancy,
            diagnosis.group,
        )
    assert seen[Lesion.MELANOMA][0] is Malignancy.MALIGNANT
    assert set(seen) == set(Lesion), "a lesion that no label leads to"


def test_a_label_without_a_lesion_says_why() -> None:
    without = {key: d.note for key, d in read_taxonomy().items() if d.lesion is None}
    assert set(without) >= {("isic2020", "unknown"), ("isic2019", "UNK")}
    assert all(without.values())


def test_the_lesions_of_the_shipped_bases_keep_their_places() -> None:
    assert [str(lesion) for lesion in list(Lesion)[:9]] == [
        "nevus", "melanoma", "basal_cell_carcinoma", "seborrhoeic_keratosis", "actinic_keratosis",
        "squamous_cell_carcinoma", "benign_keratosis", "dermatofibroma", "vascular_lesion",
    ]  # fmt: skip


def test_a_lesion_says_the_same_of_itself_for_data_of_your_own() -> None:
    found = diagnosis_of(Lesion.MELANOMA)
    assert (found.malignancy, found.group) == (Malignancy.MALIGNANT, LesionGroup.MELANOCYTIC)


def test_ham_bkl_is_not_pad_sek() -> None:
    found = read_taxonomy()
    assert found[("ham10000", "bkl")].lesion is Lesion.BENIGN_KERATOSIS
    assert found[("pad_ufes_20", "SEK")].lesion is Lesion.SEBORRHOEIC_KERATOSIS


@pytest.mark.parametrize(
    ("body", "error", "match"),
    [
        ("x,A,nevus,benign,melanocytic,\nx,A,melanoma,malignant,melanocytic,\n", ValueError, "x lists label 'A' twice"),
        ("x,A,wart,benign,melanocytic,\n", ValidationError, "lesion"),
        ("x,A,nevus,harmless,melanocytic,\n", ValidationError, "malignancy"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, body: str, error: type[Exception], match: str) -> None:
    path = tmp_path / "taxonomy.csv"
    path.write_text(HEADER + body)
    with pytest.raises(error, match=match):
        read_taxonomy(path)
