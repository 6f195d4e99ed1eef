"""Hashes follow their pictures through all 8 poses, and the search finds exactly the pairs that comparing all would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import pipelines.dedupe.search as search
from pipelines.dedupe.search import MOST_BITS, WORDS, allowances, near_pairs
from pipelines.imaging.hashing import POSES, details, hashes, structures, turn, turned

RNG = np.random.default_rng(3)


def pictures(count: int, side: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("side", [16, 48, 64, 100])
@pytest.mark.parametrize("pose", range(POSES))
def test_turning_the_picture_is_turning_its_structure(side: int, pose: int) -> None:
    images = pictures(5, side)
    seen = structures(np.stack([turn(image, pose) for image in images]))
    known = turned(structures(images), pose)
    assert np.allclose(seen, known, atol=1e-5)
    assert np.allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    # Only where a coefficient is nearly 0 may rounding choose the bit.
    assert (np.bitwise_count(hashes(seen) ^ hashes(known)) <= (np.abs(known) < 1e-5).sum(axis=1)).all()


def test_the_8_poses_are_8() -> None:
    image = pictures(1, 16)[0]
    assert len({turn(image, pose).tobytes() for pose in range(POSES)}) == 8


def test_brightness_and_contrast_do_not_matter_and_one_colour_has_no_structure() -> None:
    image = RNG.integers(60, 120, (1, 64, 64, 3), dtype=np.uint8)
    brighter = (image * 2 + 10).astype(np.uint8)
    assert np.allclose(structures(image), structures(brighter), atol=1e-3)
    assert np.allclose(details(image), details(brighter), atol=1e-3)
    plain = np.full((2, 64, 64, 3), [[[[90, 80, 70]]], [[[0, 0, 0]]]], np.uint8)
    assert not structures(plain).any()
    assert not details(plain).any()


def skewed(count: int, seed: int) -> NDArray[np.float32]:
    """Structures that crowd together as those of skin do, with neighbours at every distance."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((4, 64))
    found = centre[rng.integers(0, 4, count)] + rng.standard_normal((count, 64)) * rng.uniform(0, 0.8, (count, 1))
    return found.astype(np.float32)


def brute(posed: NDArray[np.uint64], bits: int) -> set[tuple[int, int, int, int]]:
    found = set()
    for pose in range(POSES):
        apart = np.bitwise_count(posed[pose][:, None] ^ posed[0][None])
        for a, b in np.argwhere(np.triu(apart <= bits, 1)).tolist():
            found.add((a, b, pose, int(apart[a, b])))
    return found


def found_by_search(posed: NDArray[np.uint64], bits: int) -> set[tuple[int, int, int, int]]:
    parts = [
        zip(n.a.tolist(), n.b.tolist(), n.pose.tolist(), n.bits.tolist(), strict=True) for n in near_pairs(posed, bits)
    ]
    return {pair for part in parts for pair in part}


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 12), st.integers(0, 2**31), st.integers(2, 90))
def test_it_finds_exactly_the_pairs_of_comparing_all(bits: int, seed: int, count: int) -> None:
    structure = skewed(count, seed)
    posed = np.stack([hashes(turned(structure, pose)) for pose in range(POSES)])
    assert found_by_search(posed, bits) == brute(posed, bits)


def test_few_pairs_at_once_are_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = skewed(120, 9)
    posed = np.stack([hashes(turned(structure, pose)) for pose in range(POSES)])
    whole = found_by_search(posed, 6)
    monkeypatch.setattr(search, "AT_ONCE", 7)
    assert found_by_search(posed, 6) == whole
    assert len(whole) > 100


@pytest.mark.parametrize("bits", range(MOST_BITS + 1))
def test_no_way_to_spread_the_bits_over_the_words_gets_past_the_allowances(bits: int) -> None:
    allowed = allowances(bits)
    assert len(allowed) == WORDS
    # Whoever gets past has more bits than allowed in every word, so more than `bits` in all; one word less would not do.
    assert sum(a + 1 for a in allowed) == bits + 1


@pytest.mark.parametrize("bits", [-1, 16])
def test_other_distances_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"got {bits} bits; near_pairs needs 0 to 15"):
        list(near_pairs(np.zeros((8, 2), np.uint64), bits))
