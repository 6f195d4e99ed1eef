"""Licences are known, datasets point at known ones, and the strictest of several is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import NotFoundError
from schemas.licences import DATASETS, LICENCES, licence_of, most_restrictive


def test_keys_are_ids_and_datasets_name_known_licences() -> None:
    assert all(key == licence.id for key, licence in LICENCES.items())
    assert all(key == dataset.id for key, dataset in DATASETS.items())
    assert all(dataset.licence in LICENCES and dataset.citation for dataset in DATASETS.values())


def test_the_public_sets_allow_what_their_publishers_say() -> None:
    assert licence_of(DATASETS["pad_ufes_20"].licence).allows == ("commercial", "share", "derive")
    assert licence_of(DATASETS["ham10000"].licence).allows == ("share", "derive")


def test_one_strict_part_decides() -> None:
    assert most_restrictive(["CC0-1.0", "CC-BY-NC-4.0", "CC-BY-4.0"]).id == "CC-BY-NC-4.0"
    assert most_restrictive(["CC0-1.0", "CC-BY-4.0"]).id == "CC-BY-4.0"


@given(st.lists(st.sampled_from(sorted(LICENCES)), min_size=1))
def test_order_and_repetition_do_not_matter(ids: list[str]) -> None:
    found = most_restrictive(ids)
    assert found == most_restrictive(reversed(ids * 2))
    assert len(found.allows) == min(len(LICENCES[i].allows) for i in ids)


def test_unknown_and_none() -> None:
    with pytest.raises(NotFoundError, match=r"licence 'WTFPL' is not known; known: CC-BY-4\.0"):
        most_restrictive(["CC0-1.0", "WTFPL"])
    with pytest.raises(ValueError, match="needs one or more"):
        most_restrictive([])
