"""The skin type probe reads phantoms, knows when it cannot read photos, and then says so instead of judging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from production_workspace import phantoms

from pipelines.imaging.tone import Ita, measure_ita
from pipelines.probes.skin_type import (
    STRENGTHS,
    Setting,
    by_type,
    colours,
    fit_skin_type_probe,
    load_skin_type_probe,
    read_held_out,
    save_skin_type_probe,
)
from pipelines.probes.skin_type_trust import abstentions, check_probe, no_probe, quadratic_kappa
from schemas.errors import CheckFailed
from schemas.params import GateParams

COUNT = 200


@pytest.fixture(scope="module")
def colour() -> np.ndarray:
    return colours([measure_ita(p.pixels) for p in phantoms()[:COUNT]])


@pytest.fixture(scope="module")
def fst() -> np.ndarray:
    return np.array([p.fst for p in phantoms()[:COUNT]])


PATIENTS = [p.patient for p in phantoms()[:COUNT]]
NOTHING = np.random.default_rng(0).standard_normal((COUNT, 40)).astype(np.float32)  # features that say nothing


def test_it_reads_the_type_from_the_skin(colour: np.ndarray, fst: np.ndarray) -> None:
    reading, setting = read_held_out(colour, NOTHING, fst, PATIENTS)
    trust = check_probe(reading, fst, PATIENTS, np.bincount(fst, minlength=7)[1:], setting, GateParams())
    assert setting.strength in STRENGTHS
    assert not setting.by_features  # those that say nothing are left out
    assert trust.trusted
    assert trust.kappa is not None
    assert trust.kappa > 0.9
    assert trust.kappa_low is not None
    assert trust.kappa_high is not None
    assert trust.kappa_low <= trust.kappa <= trust.kappa_high
    assert all(trust.judges(t.fst) for t in trust.types if t.n_held_out >= 10)
    assert not trust.judges(None)
    assert np.allclose(reading.sum(axis=1), 1)


def test_features_count_where_colour_says_less(colour: np.ndarray, fst: np.ndarray) -> None:
    grey = np.random.default_rng(4).standard_normal(colour.shape)
    telling = np.concatenate([NOTHING, fst[:, None] + np.random.default_rng(5).normal(0, 0.2, (COUNT, 1))], axis=1)
    reading, setting = read_held_out(grey, telling.astype(np.float32), fst, PATIENTS)
    assert setting.by_features
    assert np.mean(np.abs(reading.argmax(axis=1) + 1 - fst) <= 1) > 0.9
    probe = fit_skin_type_probe(grey, telling, fst, setting.strength, by_features=True)
    assert np.abs(probe.weights[-1]) > 0


def test_labels_without_meaning_are_not_trusted_and_it_says_so(colour: np.ndarray, fst: np.ndarray) -> None:
    shuffled = np.random.default_rng(1).permutation(fst)
    reading, setting = read_held_out(colour, NOTHING, shuffled, PATIENTS)
    trust = check_probe(reading, shuffled, PATIENTS, np.bincount(fst, minlength=7)[1:], setting, GateParams())
    assert not trust.trusted
    assert not any(trust.judges(t) for t in range(1, 7))
    assert "the lower end needs 0.4" in abstentions(trust)


def test_a_type_of_few_images_is_not_judged_though_the_others_are(colour: np.ndarray, fst: np.ndarray) -> None:
    rare = np.flatnonzero(fst == 6)[5:]
    keep = np.setdiff1d(np.arange(COUNT), rare)
    whose = [PATIENTS[i] for i in keep]
    reading, setting = read_held_out(colour[keep], NOTHING[keep], fst[keep], whose)
    n_train = np.bincount(fst[keep], minlength=7)[1:]
    trust = check_probe(reading, fst[keep], whose, n_train, setting, GateParams())
    assert trust.judges(2)
    assert not trust.judges(6)
    assert "FST VI" in abstentions(trust)


def test_without_skin_types_there_is_no_say() -> None:
    assert not no_probe("none").judges(3)
    empty = check_probe(
        np.full((4, 6), np.nan), np.ones(4, int), list("abcd"), np.zeros(6, int), Setting(1.0, False), GateParams()
    )
    assert not empty.trusted
    assert empty.kappa is None


def test_darker_skin_is_never_read_as_lighter(colour: np.ndarray, fst: np.ndarray) -> None:
    probe = fit_skin_type_probe(colour, NOTHING, fst, 1.0, by_features=False)
    steps = np.linspace(colour[fst == 1].mean(axis=0), colour[fst == 6].mean(axis=0), 20)
    expected = by_type(probe, steps, np.repeat(NOTHING[:1], 20, axis=0)) @ np.arange(1, 7)
    assert (np.diff(expected) > -1e-9).all()
    assert expected[-1] - expected[0] > 3


def test_no_skin_is_the_average_colour_not_a_crash() -> None:
    unknown = colours([Ita(None, 3), Ita(40.0, 99, (65.0, 10.0, 18.0))])
    assert unknown.shape == (2, 4)
    assert np.isnan(unknown[0]).all()
    assert np.isfinite(unknown[1]).all()


def test_the_gradient_leads_to_the_least_loss(colour: np.ndarray, fst: np.ndarray) -> None:
    """Against a plain optimiser without our gradient, on few dimensions."""
    from scipy.optimize import minimize

    flat = np.zeros((COUNT, 3), np.float32)
    probe = fit_skin_type_probe(colour, flat, fst, 0.1, by_features=False)
    z = (np.concatenate([colour, flat], axis=1) - probe.mean) / probe.scale
    y, share = fst - 1, COUNT / (6 * np.bincount(fst - 1)[fst - 1])

    def loss(p: np.ndarray) -> float:
        limits = np.cumsum(np.concatenate([p[4:5], np.exp(p[5:])]))
        upto = 1 / (1 + np.exp(-(limits[None] - (z[:, :4] @ p[:4])[:, None])))
        chances = np.diff(np.concatenate([upto, np.ones((COUNT, 1))], axis=1), axis=1, prepend=0)
        return float(-(share * np.log(np.maximum(chances[np.arange(COUNT), y], 1e-12))).sum() + p[:4] @ p[:4] / 0.2)

    ours = np.concatenate([probe.weights[:4], probe.limits[:1], np.log(np.diff(probe.limits))])
    plain = minimize(loss, np.zeros(9), method="BFGS", options={"gtol": 1e-4})
    assert loss(ours) <= plain.fun * 1.001


def test_a_probe_survives_its_file(tmp_path: Path, colour: np.ndarray, fst: np.ndarray) -> None:
    probe = fit_skin_type_probe(colour, NOTHING, fst, 1.0, by_features=False)
    save_skin_type_probe(probe, tmp_path / "p.safetensors")
    again = load_skin_type_probe(tmp_path / "p.safetensors")
    assert again.types == probe.types
    assert np.array_equal(again.probabilities(colour, NOTHING), probe.probabilities(colour, NOTHING))
    (tmp_path / "p.safetensors").write_bytes(b"no")
    with pytest.raises(CheckFailed, match="not a readable probe"):
        load_skin_type_probe(tmp_path / "p.safetensors")


def test_kappa_is_sklearn_s() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 6, 80), rng.integers(0, 6, 80)
    b = np.where(rng.random(80) < 0.5, a, b)
    counts = np.zeros((6, 6))
    np.add.at(counts, (a, b), 1)
    assert quadratic_kappa(counts) == pytest.approx(cohen_kappa_score(a, b, weights="quadratic", labels=range(6)))
    assert quadratic_kappa(np.eye(1)) == 0
