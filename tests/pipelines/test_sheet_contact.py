"""Contact sheets: every picture where its labels say, what is missing drawn as missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.imaging.sheet import HATCH, PAPER, contact_sheet, strip

SIDE = 20


def plain(value: int) -> np.ndarray:
    """Return a picture whose colour is found nowhere else on a sheet."""
    return np.full((SIDE, SIDE, 3), (value, 7, 251), np.uint8)


def where(sheet: Image.Image, value: int) -> tuple[int, int, int, int] | None:
    """Return the box (left, top, right, bottom) of the picture made by plain(value)."""
    ys, xs = np.nonzero((np.array(sheet) == (value, 7, 251)).all(axis=-1))
    return (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1) if len(xs) else None


def test_pictures_lie_in_their_row_and_column_side_by_side() -> None:
    cells = {("a", "x"): [plain(1), plain(2)], ("a", "y"): [plain(3)], ("b", "x"): [plain(4)]}
    sheet = contact_sheet(cells, ["a", "b"], ["x", "y"], per_cell=2)
    one, two, three, four = (where(sheet, v) for v in (1, 2, 3, 4))
    assert all(box is not None for box in (one, two, three, four))
    assert one[3] - one[1] == one[2] - one[0] == SIDE
    assert one[1] == two[1] == three[1]
    assert one[2] < two[0] < two[2] < three[0]
    assert four[0] == one[0]
    assert four[1] > one[3]


def test_pictures_are_enlarged_without_smoothing_and_the_rest_left_out() -> None:
    sheet = contact_sheet({("a", "x"): [plain(1), plain(2)]}, ["a"], ["x"], per_cell=1, scale=3)
    left, top, right, bottom = where(sheet, 1)
    assert (right - left, bottom - top) == (3 * SIDE, 3 * SIDE)
    assert where(sheet, 2) is None


def test_an_empty_cell_is_hatched_and_a_full_one_is_not() -> None:
    full = np.array(contact_sheet({("a", "x"): [plain(1)]}, ["a"], ["x"], per_cell=1))
    empty = np.array(contact_sheet({}, ["a"], ["x"], per_cell=1))
    assert not (full == HATCH).all(axis=-1).any()
    assert (empty == HATCH).all(axis=-1).sum() > 100


@settings(max_examples=25, deadline=None)
@given(label=st.text("abcdefghij_ ", min_size=1, max_size=40).filter(str.strip), title=st.text("xyz ", max_size=80))
def test_no_label_is_cut_off_by_the_edge(label: str, title: str) -> None:
    sheet = np.array(contact_sheet({("r", label): [plain(1)]}, ["r"], [label], per_cell=1, title=title))
    for edge in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]):
        assert (edge == PAPER).all()


@pytest.mark.parametrize("change", [{"per_cell": 0}, {"scale": 0}, {"rows": []}, {"columns": []}])
def test_nothing_to_draw_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="need 1 or more of each"):
        contact_sheet(**{"cells": {}, "rows": ["a"], "columns": ["x"], "per_cell": 1, **change})


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one square size"):
        contact_sheet({("a", "x"): [plain(1), plain(2)[:-1, :-1]]}, ["a"], ["x"], per_cell=2)


def test_a_strip_keeps_every_pixel() -> None:
    joined = strip([plain(1), plain(2)], gap=3)
    assert joined.shape == (SIDE, 2 * SIDE + 3, 3)
    assert (joined[:, :SIDE] == plain(1)).all()
    assert (joined[:, SIDE + 3 :] == plain(2)).all()
