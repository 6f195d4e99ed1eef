"""The probe is a plain softmax regression: its probabilities sum to one, survive a file, and mean what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.probes.lesion import LesionProbe, calibration_error, fit_lesion_probe, load_probe, save_probe
from schemas.errors import CheckFailed


def blobs(counts: dict[str, int], seed: int, spread: float = 1.0) -> tuple[np.ndarray, list[str]]:
    """Return overlapping Gaussian classes in 20 dimensions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(0, 1, (len(counts), 20))
    x = np.concatenate([rng.normal(c, spread, (n, 20)) for c, n in zip(centres, counts.values(), strict=True)])
    return x.astype(np.float32), [name for name, n in counts.items() for _ in range(n)]


def test_rare_classes_count_as_much_as_common_ones() -> None:
    x, y = blobs({"melanoma": 15, "nevus": 250, "seborrhoeic_keratosis": 60}, 0, spread=2.0)
    probe = fit_lesion_probe(x, y, seed=1)
    unseen, truth = blobs({"melanoma": 200, "nevus": 200, "seborrhoeic_keratosis": 200}, 5, spread=2.0)
    right = probe.predict(unseen) == np.array(truth)
    assert right[:200].mean() > 0.5  # an unbalanced fit finds 0.1 of these melanomas
    assert right.mean() > 0.7


def test_probabilities_are_calibrated_on_unseen_images() -> None:
    x, y = blobs({"a": 150, "b": 150, "c": 150}, 0, spread=1.8)
    probe = fit_lesion_probe(x, y, seed=1)
    unseen, truth = blobs({"a": 300, "b": 300, "c": 300}, 7, spread=1.8)
    error = calibration_error(probe.probabilities(unseen), probe.predict(unseen) == np.array(truth))
    assert error < 0.08


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    chances = np.array([[0.95, 0.05]] * 4 + [[0.35, 0.65]] * 4)
    right = np.array([True] * 4 + [True, True, False, False])
    assert calibration_error(chances, right) == pytest.approx(0.5 * 0.05 + 0.5 * 0.15)
    assert np.isnan(calibration_error(chances[:0], right[:0]))


def test_the_same_seed_fits_the_same_probe_and_patients_stay_whole() -> None:
    x, y = blobs({"a": 40, "b": 40}, 3)
    groups = [str(i // 4) for i in range(80)]
    one, two = (fit_lesion_probe(x, y, seed=4, groups=groups) for _ in range(2))
    assert np.array_equal(one.weights, two.weights)
    assert one.classes == ("a", "b")
    assert (one.predict(x) == np.array(y)).mean() > 0.9


def test_a_probe_survives_a_file(tmp_path: Path) -> None:
    x, y = blobs({"a": 30, "b": 30, "c": 5}, 0)
    probe = fit_lesion_probe(x, y, seed=1, strength=0.1)
    save_probe(probe, tmp_path / "probe.safetensors")
    again = load_probe(tmp_path / "probe.safetensors")
    assert again.classes == probe.classes
    assert again.strength == 0.1
    assert np.array_equal(again.probabilities(x), probe.probabilities(x))
    assert [p.name for p in tmp_path.iterdir()] == ["probe.safetensors"]


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"{}"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "probe.safetensors").write_bytes(content)
    with pytest.raises(CheckFailed, match=r"not a readable probe .*run `equiderm produce`"):
        load_probe(tmp_path / "probe.safetensors")


def test_one_class_is_always_that_class_and_none_is_refused() -> None:
    probe = fit_lesion_probe(np.ones((3, 4), np.float32), ["nevus"] * 3, seed=0)
    assert probe.probabilities(np.zeros((2, 4))).tolist() == [[1.0], [1.0]]
    with pytest.raises(ValueError, match="no images"):
        fit_lesion_probe(np.ones((0, 4), np.float32), [], seed=0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(0.001, 1000))
def test_probabilities_are_a_distribution(seed: int, classes: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    names = tuple("abcde"[:classes])
    probe = LesionProbe(
        names, rng.normal(0, scale, (classes, 6)), rng.normal(size=classes), np.zeros(6), np.ones(6), 1.0
    )
    chances = probe.probabilities(rng.normal(size=(9, 6)))
    assert (chances >= 0).all()
    assert chances.sum(axis=1) == pytest.approx(np.ones(9))
