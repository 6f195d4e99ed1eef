"""What is taken for skin: on painted pictures where it is known, and the angle that follows from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.imaging.colour import ita_from_lab, lab_from_linear, linear_from_srgb8
from pipelines.imaging.skin import LEAST_PIXELS, LOOKED_AT, find_skin, medians, robust_medians
from pipelines.imaging.tone import measure_ita

PALE, BROWN, DARK = (225, 185, 160), (150, 100, 70), (78, 50, 38)
INK, GLOVE, HAIR, RED_LESION = (35, 35, 45), (80, 120, 190), (30, 22, 18), (120, 40, 45)


def scene(skin: tuple[int, int, int], side: int = 96, seed: int = 0) -> np.ndarray:
    """Return even skin with a little noise, uint8 (side, side, 3)."""
    noise = np.random.default_rng(seed).normal(0, 3, (side, side, 3))
    return np.clip(np.array(skin) + noise, 0, 255).astype(np.uint8)


def ita_of_rgb(rgb: tuple[int, int, int]) -> float:
    return float(ita_from_lab(lab_from_linear(linear_from_srgb8(np.array([rgb], np.uint8))))[0])


@pytest.mark.parametrize("skin", [PALE, BROWN, DARK])
@pytest.mark.parametrize(
    ("thing", "area"),
    [
        (INK, np.s_[:40, :]),
        (GLOVE, np.s_[:, 64:]),
        (HAIR, np.s_[:, ::9]),
        ((255, 255, 255), np.s_[10:14, 10:30]),
    ],
)
def test_things_on_skin_do_not_change_its_angle(
    skin: tuple[int, int, int], thing: tuple[int, int, int], area: tuple[slice, slice]
) -> None:
    pixels = scene(skin)
    pixels[area] = thing
    found = measure_ita(pixels).deg
    assert found is not None
    assert abs(found - ita_of_rgb(skin)) < 3


def test_a_lesion_that_fills_most_of_the_frame_is_not_the_skin() -> None:
    pixels = scene(PALE)
    pixels[:60] = RED_LESION
    found = measure_ita(pixels).deg
    assert found is not None
    assert abs(found - ita_of_rgb(PALE)) < 3


def test_a_rim_and_its_soft_edge_are_left_out() -> None:
    pixels = scene(BROWN, 128)
    y, x = np.mgrid[:128, :128]
    radius = np.hypot(x - 63.5, y - 63.5) / 64
    pixels = (pixels * np.clip((1.0 - radius) / 0.05, 0, 1)[..., None]).astype(np.uint8)
    skin = find_skin(pixels)
    inner = np.hypot(*(np.indices(skin.where.shape) - (skin.where.shape[0] - 1) / 2)) / (skin.where.shape[0] / 2)
    assert skin.where.any()
    assert inner[skin.where].max() < 0.97
    found = measure_ita(pixels).deg
    assert found is not None
    assert abs(found - ita_of_rgb(BROWN)) < 3


def test_the_lesion_mask_is_obeyed_and_grown() -> None:
    mask = np.zeros((96, 96), bool)
    mask[30:60, 20:50] = True
    skin = find_skin(scene(BROWN), mask)
    reduced = mask.reshape(48, 2, 48, 2).any(axis=(1, 3))
    assert not (skin.where & reduced).any()
    assert skin.where.sum() == len(skin.lab)


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 200), width=st.integers(1, 200), seed=st.integers(0, 9), masked=st.booleans())
def test_any_picture_gives_an_angle_or_none(height: int, width: int, seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = rng.random((height, width)) < 0.1 if masked else None
    found = measure_ita(pixels, mask)
    assert (found.deg is None) == (found.pixels < LEAST_PIXELS)
    assert found.deg is None or -90 <= found.deg <= 90
    assert found.pixels <= (2 * LOOKED_AT) ** 2 * (max(height, width) // max(1, min(height, width)) + 1)


@settings(deadline=None, max_examples=40)
@given(height=st.integers(40, 220), width=st.integers(40, 220), seed=st.integers(0, 99))
def test_a_picture_of_pillow_s_is_measured_as_its_pixels_are(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.clip(rng.normal(BROWN, 20, (height, width, 3)), 0, 255).astype(np.uint8)
    assert measure_ita(Image.fromarray(pixels)) == measure_ita(pixels)


@settings(deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(0, 99), levels=st.integers(1, 1000))
def test_medians_and_distances_are_numpy_s_to_the_bit(size: int, seed: int, levels: int) -> None:
    rows = (np.random.default_rng(seed).integers(0, levels, (3, size)) / 7).astype(np.float32)
    middle, distance = robust_medians(rows)
    assert (medians(rows) == np.median(rows, axis=1)).all()
    assert (middle == np.median(rows, axis=1)).all()
    assert (distance == np.median(np.abs(rows - middle[:, None]), axis=1)).all()
