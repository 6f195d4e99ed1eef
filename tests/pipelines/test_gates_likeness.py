"""Two pictures are alike whatever way round they lie, and different phantoms are never taken for one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from production_workspace import phantoms

from pipelines.produce.gates.duplicate import judge_one, scores_against
from pipelines.produce.likeness import hash_distances, pixel_distances, poses, thumbnails

BITS = 4
BOUND = 1.8  # levels: what calibration measures on these phantoms


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(16, 70), st.integers(0, 7))
def test_every_pose_of_an_image_is_at_distance_zero(seed: int, side: int, pose: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    turned = np.rot90(image, pose % 4, axes=(1, 2))
    turned = turned[:, :, ::-1] if pose >= 4 else turned
    a, b = thumbnails(image), thumbnails(np.ascontiguousarray(turned))
    assert pixel_distances(a, b)[0, 0] < 0.02  # half a level may round the other way in a few of 768 cells
    assert hash_distances(a, b)[0, 0] <= 2
    assert scores_against(a, b, bits=BITS, pixel_bound=0.5)[0, 0] < 1


def test_thumbnails_are_area_averages() -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, :2, :1] = 200  # half of the first 2 x 2 cell
    thumb = thumbnails(image)
    assert thumb[0, 0, 0].tolist() == [100, 100, 100]
    assert thumb.sum() == 300
    assert poses(thumb).shape == (1, 8, 16, 16, 3)
    assert len({p.tobytes() for p in poses(thumb)[0]}) == 4  # one bright corner cell: 4 corners, mirrored twice


def test_distinct_phantoms_are_not_duplicates_though_their_hashes_collide() -> None:
    pictures = thumbnails(np.stack([p.pixels for p in phantoms()]))
    others = ~np.eye(len(pictures), dtype=bool)
    loose = 2 * BITS  # at 64 px 3% of 500 phantoms share a hash within 4 bits, 35% within 8
    assert ((hash_distances(pictures, pictures) <= loose) & others).any(axis=1).mean() > 0.02
    scores = scores_against(pictures, pictures, bits=loose, pixel_bound=BOUND)
    assert not ((scores < 1) & others).any()
    assert (scores[~others] == 0).all()


def test_a_faintly_altered_picture_is_still_the_same() -> None:
    pixels = np.stack([p.pixels for p in phantoms()[:60]])
    noise = np.random.default_rng(0).normal(0, 1.5, pixels.shape)
    altered = thumbnails(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    scores = scores_against(altered, thumbnails(pixels), bits=BITS, pixel_bound=BOUND)
    assert (scores.min(axis=1) < 1).mean() >= 0.9


def test_the_first_image_of_a_release_is_no_duplicate() -> None:
    thumb = thumbnails(phantoms()[0].pixels[None])
    none = scores_against(thumb, thumb[:0], bits=BITS, pixel_bound=BOUND)
    assert none.shape == (1, 0)
    assert judge_one(none[0]) == (True, 1.0, None)
