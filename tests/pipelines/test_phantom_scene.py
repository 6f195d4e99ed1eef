"""Phantoms: exact truth, determinism, imbalance, and classes that a simple rule can tell apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipelines.imaging.tone import measure_ita
from pipelines.phantoms.lesions import PAINTERS
from pipelines.phantoms.scene import ITA_DRAWN_DEG, draw, render
from schemas.source_params import PhantomSource
from schemas.words import FST_RANGE, ITA_BANDS_DEG, Lesion

SOURCE = PhantomSource(count=1200)


def test_the_same_index_is_the_same_picture_and_another_is_not() -> None:
    first, again, other = draw(SOURCE, 17), draw(PhantomSource(count=1200), 17), draw(SOURCE, 18)
    assert (first.pixels == again.pixels).all()
    assert (first.mask == again.mask).all()
    assert first.ita_deg == again.ita_deg
    assert not (first.pixels == other.pixels).all()


def test_an_index_outside_the_source_is_refused() -> None:
    with pytest.raises(IndexError, match="phantom 1200: the source draws 1200; ask for 0 to 1199"):
        draw(SOURCE, 1200)


def test_truth_is_inside_its_band_and_the_mask_covers_a_lesion() -> None:
    for index in range(60):
        phantom = draw(SOURCE, index)
        low, high = ITA_BANDS_DEG[phantom.fst]
        assert low < phantom.ita_deg <= high
        assert 0.01 < phantom.mask.mean() < 0.75
        assert phantom.pixels.dtype == np.uint8
        assert phantom.pixels.shape == (64, 64, 3)


def test_shares_are_imbalanced_like_the_public_sets_and_patients_keep_their_skin() -> None:
    from pipelines.phantoms.scene import _patients

    people = _patients(PhantomSource(count=5000, seed=3))
    counts = Counter(person[1] for person in people)
    assert sum(counts[f] for f in (4, 5, 6)) / 5000 < 0.16
    assert set(counts) == set(FST_RANGE)
    by_patient: dict[int, set[tuple[int, float]]] = {}
    for person in people:
        by_patient.setdefault(person[0], set()).add((person[1], person[2]))
    assert all(len(traits) == 1 for traits in by_patient.values())


@pytest.mark.parametrize("with_mask", [True, False])
def test_measured_ita_is_within_3_degrees_of_the_truth_for_every_skin_type(with_mask: bool) -> None:
    lesions = list(PAINTERS)
    for fst in FST_RANGE:
        errors = []
        for index in range(24):
            rng = np.random.default_rng([fst, index])
            truth = rng.uniform(*ITA_DRAWN_DEG[fst])
            pixels, mask = render(rng, lesions[index % 4], truth, 0.025, 64)
            measured = measure_ita(pixels, mask if with_mask else None)
            assert measured.deg is not None
            errors.append(abs(measured.deg - truth))
        assert np.median(errors) < 3, (fst, errors)


def test_no_skin_no_angle() -> None:
    assert measure_ita(np.zeros((64, 64, 3), np.uint8)).deg is None
    assert measure_ita(np.full((64, 64, 3), 150, np.uint8), np.ones((64, 64), bool)).deg is None


def test_classes_differ_in_shape_and_colour_as_described() -> None:
    def features(lesion: Lesion) -> tuple[float, float, float]:
        outline, redness, spread = [], [], []
        for index in range(20):
            pixels, mask = render(np.random.default_rng([9, index]), lesion, 45.0, 0.025, 64)
            inside = pixels[mask].astype(float)
            edge = mask & ~(np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1))
            outline.append(edge.sum() ** 2 / mask.sum())
            redness.append((inside[:, 0] - inside[:, 1]).mean())
            spread.append(inside.mean(axis=1).std())
        return float(np.median(outline)), float(np.median(redness)), float(np.median(spread))

    nevus, melanoma = features(Lesion.NEVUS), features(Lesion.MELANOMA)
    carcinoma, keratosis = features(Lesion.BASAL_CELL_CARCINOMA), features(Lesion.SEBORRHOEIC_KERATOSIS)
    assert melanoma[0] > nevus[0] * 1.1, "ragged border"
    assert melanoma[2] > nevus[2] * 1.5, "several colours"
    assert keratosis[2] > nevus[2] * 1.2, "texture"
    assert carcinoma[2] > nevus[2], "vessels, rim, ulcer"
