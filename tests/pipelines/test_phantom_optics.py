"""The optical model: physics it must obey, whatever its constants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.imaging.colour import ita_from_lab, lab_from_linear, linear_from_srgb8, srgb8_from_linear
from pipelines.phantoms.optics import (
    MELANIN_RANGE,
    ita_of,
    melanin_for_ita,
    reflectance,
    rgb_from_reflectance,
    skin_rgb,
)

melanin = st.floats(0.005, 1.5)
blood = st.floats(0.003, 0.1)


@given(melanin, blood)
def test_reflectance_is_a_fraction_and_falls_with_melanin(m: float, b: float) -> None:
    light, dark = reflectance(np.float32([m]), np.float32([b])), reflectance(np.float32([m * 1.1]), np.float32([b]))
    assert (light > 0).all()
    assert (light < 1).all()
    assert (dark <= light).all()
    assert dark.sum() < light.sum()


@given(st.floats(-55, 72), st.floats(0.012, 0.04))
def test_melanin_for_ita_is_the_inverse_of_ita_of(ita_deg: float, b: float) -> None:
    assert ita_of(melanin_for_ita(ita_deg, b), b) == pytest.approx(ita_deg, abs=0.6)


def test_an_angle_out_of_reach_gives_the_end_of_the_range() -> None:
    assert melanin_for_ita(89.9, 0.02) == pytest.approx(MELANIN_RANGE[0], rel=0.01)


def test_a_perfect_reflector_is_white_under_every_adapted_illuminant() -> None:
    for illuminant in ("D65", "D50", "A", "LED"):
        rgb = rgb_from_reflectance(np.ones((1, 31), np.float32), illuminant)  # type: ignore[arg-type]
        assert np.allclose(rgb, 1, atol=0.02), illuminant


def test_more_blood_is_redder_and_less_adaptation_under_tungsten_is_yellower() -> None:
    pale = lab_from_linear(skin_rgb(np.float32([0.03]), np.float32([0.01])))[0]
    flushed = lab_from_linear(skin_rgb(np.float32([0.03]), np.float32([0.06])))[0]
    assert flushed[1] > pale[1] + 3
    cast = lab_from_linear(skin_rgb(np.float32([0.03]), np.float32([0.01]), "A", 0.8))[0]
    assert cast[2] > pale[2] + 3


def test_srgb_round_trip_and_lab_of_known_colours() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert (srgb8_from_linear(linear_from_srgb8(every)) == every).all()
    lab = lab_from_linear(linear_from_srgb8(np.uint8([[255, 255, 255], [255, 0, 0], [0, 0, 0]])))
    assert np.allclose(lab, [[100, 0, 0], [53.24, 80.09, 67.20], [0, 0, 0]], atol=0.05)


def test_ita_of_a_known_colour_and_where_b_is_not_positive() -> None:
    assert ita_from_lab(np.float32([60, 0, 10])) == pytest.approx(45)
    assert ita_from_lab(np.float32([60, 0, -5])) == pytest.approx(90, abs=0.1)
    assert ita_from_lab(np.float32([40, 0, -5])) == pytest.approx(-90, abs=0.1)
