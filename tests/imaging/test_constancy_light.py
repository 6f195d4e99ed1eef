"""Colour constancy: a cast is undone where the scene is grey, `none` is nothing, and what it does to skin is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.imaging.colour import linear_from_srgb8, srgb8_from_linear
from pipelines.imaging.constancy import balance, light_of
from pipelines.imaging.tone import measure_ita
from schemas.words import ColourConstancy

METHODS = [ColourConstancy.GREY_WORLD, ColourConstancy.SHADES_OF_GREY]


def grey_scene(light: tuple[float, float, float], seed: int = 0) -> np.ndarray:
    """Return patches of greys under a light, uint8 (48, 48, 3)."""
    grey = np.random.default_rng(seed).uniform(0.05, 0.6, (48, 48, 1))
    return srgb8_from_linear((grey * np.array(light)).astype(np.float32))


@pytest.mark.parametrize("method", METHODS)
@given(red=st.floats(0.6, 1.4), blue=st.floats(0.6, 1.4))
@settings(deadline=None, max_examples=30)
def test_a_cast_on_a_grey_scene_is_found_and_undone(method: ColourConstancy, red: float, blue: float) -> None:
    cast = grey_scene((red, 1.0, blue))
    light = light_of(cast, method)
    assert light is not None
    np.testing.assert_allclose(light / light[1], (red, 1.0, blue), rtol=0.02)
    balanced = balance(cast, method).astype(int)
    assert np.abs(balanced - balanced[..., 1:2]).max() <= 3


@pytest.mark.parametrize("method", METHODS)
def test_luminance_is_kept(method: ColourConstancy) -> None:
    cast = grey_scene((1.3, 1.0, 0.7))
    weights = np.array([0.2126, 0.7152, 0.0722])
    before, after = (float((linear_from_srgb8(p) @ weights).mean()) for p in (cast, balance(cast, method)))
    assert after == pytest.approx(before, rel=0.02)


def test_none_returns_the_very_pixels() -> None:
    pixels = grey_scene((1.3, 1.0, 0.7))
    assert balance(pixels, ColourConstancy.NONE) is pixels


@pytest.mark.parametrize("method", METHODS)
def test_rim_and_highlights_say_nothing_of_the_light(method: ColourConstancy) -> None:
    pixels = grey_scene((1.2, 1.0, 0.8))
    clean = light_of(pixels, method)
    pixels = np.concatenate([pixels, np.zeros_like(pixels), np.full_like(pixels, 255)])
    pixels[48:60, :, 2] = 15
    np.testing.assert_allclose(light_of(pixels, method), clean)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_without_signal_stays_as_it_is(method: ColourConstancy, value: int) -> None:
    pixels = np.full((32, 32, 3), value, np.uint8)
    assert balance(pixels, method) is pixels
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert balance(red, method) is red


def test_grey_world_takes_the_tone_out_of_skin_that_fills_the_frame() -> None:
    # The defect stated in docs/skin-tone.md: light and brown skin become one grey, apart in lightness alone.
    for rgb in ((224, 178, 150), (120, 78, 54)):
        skin = np.full((64, 64, 3), rgb, np.uint8)
        before = measure_ita(skin).deg
        after = measure_ita(balance(skin, ColourConstancy.GREY_WORLD)).deg
        assert before is not None
        assert after is not None
        assert abs(before) < 60
        assert abs(after) > 80
