"""The square: where it lies, what it keeps, and that its name is its pixels."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import photo
from PIL import Image

from pipelines.imaging.normalise import decode_png, encode_png, image_id, normalise, square_box


def test_pixels_of_the_right_size_are_unchanged() -> None:
    pixels, mask = photo(1), np.zeros((40, 40), bool)
    mask[3:9, 5:7] = True
    found = normalise(pixels, mask, 40)
    np.testing.assert_array_equal(found.pixels, pixels)
    np.testing.assert_array_equal(found.mask, mask)


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(10, 60), st.integers(10, 60)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    extent=st.tuples(st.floats(0.02, 1), st.floats(0.02, 1)),
)
def test_a_lesion_that_fits_lies_inside(
    size: tuple[int, int], place: tuple[float, float], extent: tuple[float, float]
) -> None:
    side = min(size)
    mask = np.zeros(size, bool)
    spans = []
    for axis in (0, 1):
        length = max(1, int(extent[axis] * side))
        start = int(place[axis] * (size[axis] - length))
        spans.append(slice(start, start + length))
    mask[spans[0], spans[1]] = True
    left, top, right, bottom = square_box(*size, mask)
    assert right - left == bottom - top == side
    assert left >= 0
    assert top >= 0
    assert right <= size[1]
    assert bottom <= size[0]
    assert mask[top:bottom, left:right].sum() == mask.sum()


def test_without_a_mask_the_square_is_in_the_middle() -> None:
    assert square_box(10, 30, None) == (10, 0, 20, 10)
    assert square_box(30, 10, np.zeros((30, 10), bool)) == (0, 10, 10, 20)


def test_resampling_keeps_the_mean() -> None:
    pixels = photo(2, (300, 300))
    found = normalise(pixels, None, 64).pixels
    assert np.abs(found.mean(axis=(0, 1)) - pixels.mean(axis=(0, 1))).max() < 1.0


def test_a_mask_stays_where_its_lesion_is() -> None:
    y, x = np.ogrid[:300, :300]
    mask = (y - 120) ** 2 + (x - 180) ** 2 < 60**2
    pixels = np.where(mask[..., None], 40, 220).astype(np.uint8).repeat(3, axis=2)
    found = normalise(pixels, mask, 64)
    assert found.mask is not None
    dark = found.pixels[..., 0] < 130
    assert (dark != found.mask).mean() < 0.01


def test_nothing_is_enlarged_and_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="40 x 40 px; needs 41 px"):
        normalise(photo(3), None, 41)
    with pytest.raises(ValueError, match="mask of 39 x 40 px"):
        normalise(photo(3), np.zeros((40, 39), bool), 16)


def test_equal_names_mean_equal_pixels_and_shapes() -> None:
    pixels = photo(4, (8, 2))
    assert image_id(pixels) == image_id(pixels.copy())
    assert len(image_id(pixels)) == 24
    assert image_id(pixels) != image_id(pixels.reshape(8, 2, 3))
    other = pixels.copy()
    other[0, 0, 0] ^= 1
    assert image_id(pixels) != image_id(other)


def test_the_name_is_fixed_for_good() -> None:
    # Releases name images by it: a change here breaks every trace.
    assert image_id(np.zeros((2, 2, 3), np.uint8)) == "11570d25a63daa32238ee833"


@settings(deadline=None)
@given(st.integers(1, 33), st.integers(1, 33), st.sampled_from(["rgb", "grey", "mask"]), st.integers(0, 99))
def test_png_round_trip_here_and_in_pillow(height: int, width: int, kind: str, seed: int) -> None:
    pixels = photo(seed, (width, height))
    given_ = {"rgb": pixels, "grey": pixels[..., 0], "mask": pixels[..., 0] > 127}[kind]
    data = encode_png(given_)
    expected = given_.astype(np.uint8) * 255 if kind == "mask" else given_
    np.testing.assert_array_equal(decode_png(data), expected)
    image = Image.open(BytesIO(data))
    image.verify()
    assert image.mode == ("RGB" if kind == "rgb" else "L")
