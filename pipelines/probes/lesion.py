"""The lesion probe: multinomial logistic regression on frozen features, fitted on real training images alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.probes.arrays import load_arrays, save_arrays
from schemas.errors import CheckFailed

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse regularisation strengths tried; the least held-out log loss wins, which also keeps it calibrated."""

COMPONENTS = 128
"""Principal components the regression sees: as accurate as all 1,280 features here, and several times quicker."""

FOLDS = 3
MAX_ITERATIONS = 200
TOLERANCE = 1e-3
_FORMAT = 2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LesionProbe:
    """A fitted probe. Probabilities are softmax(weights . (x - mean) / scale + bias)."""

    classes: tuple[str, ...]
    weights: Floats  # (K, D)
    bias: Floats  # (K,)
    mean: Floats  # (D,)
    scale: Floats  # (D,)
    strength: float

    def probabilities(self, features: NDArray[np.floating]) -> Floats:
        """Return (N, K) probabilities, 0-1, columns in the order of `classes`."""
        logits = ((features.astype(np.float64) - self.mean) / self.scale) @ self.weights.T + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        result: Floats = odds / odds.sum(axis=1, keepdims=True)
        return result

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.str_]:
        """Return the likeliest class of each image, (N,) str."""
        return np.array(self.classes, dtype=np.str_)[self.probabilities(features).argmax(axis=1)]


def fit_lesion_probe(
    features: NDArray[np.floating],
    labels: Sequence[str],
    seed: int,
    *,
    groups: Sequence[str] | None = None,
    strength: float | None = None,
) -> LesionProbe:
    """Return a probe fitted with balanced class weights.

    Args:
        features: (N, D).
        labels: (N,) lesion names. With one class only, the probe gives it probability 1.
        seed: of the folds that choose the regularisation.
        groups: (N,) patients, kept whole in a fold.
        strength: inverse regularisation; chosen on held-out folds if None.

    Raises:
        ValueError: no images.
    """
    y = np.asarray(labels, dtype=np.str_)
    if not len(y):
        raise ValueError("no images to fit the lesion probe on")
    with one_blas_thread():
        return _fit_probe(features.astype(np.float64), y, seed, groups, strength)


def _fit_probe(
    x: Floats, y: NDArray[np.str_], seed: int, groups: Sequence[str] | None, strength: float | None
) -> LesionProbe:
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    classes = tuple(sorted({str(label) for label in y}))
    if len(classes) == 1:
        return LesionProbe(classes, np.zeros((1, x.shape[1])), np.zeros(1), mean, scale, 0.0)
    z = (x - mean) / scale
    axes = np.linalg.svd(z, full_matrices=False)[2][:COMPONENTS]
    z = z @ axes.T
    if strength is None:
        strength = _choose_strength(z, y, seed, groups)
    weights, bias = _fit(z, y, strength)
    return LesionProbe(classes, weights @ axes, bias, mean, scale, strength)


def _fit(z: Floats, y: NDArray[np.str_], strength: float) -> tuple[Floats, Floats]:
    """Return weights (K, D) and bias (K,) over the sorted classes of `y`."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stopping at the iteration limit is fine: it only regularises more
        model.fit(z, y)
    weights, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(weights) == 1:  # two classes: sklearn keeps one row; softmax over (0, z) is the same function
        weights, bias = np.concatenate([np.zeros_like(weights), weights]), np.concatenate([np.zeros(1), bias])
    return weights, bias


def _choose_strength(z: Floats, y: NDArray[np.str_], seed: int, groups: Sequence[str] | None) -> float:
    """Return the strength with the least mean log loss over patient-disjoint folds (the strongest if folds fail)."""
    from sklearn.model_selection import StratifiedGroupKFold

    patients = np.arange(len(y)) if groups is None else np.asarray(groups)
    if np.unique(patients).size < FOLDS or len(y) < 2 * FOLDS:
        return STRENGTHS[0]
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    losses = np.zeros(len(STRENGTHS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class rarer than the folds is handled below
        splits = list(folds.split(z, y, patients))
    for fit, held in splits:
        classes = np.unique(y[fit])
        held = held[np.isin(y[held], classes)]
        if len(classes) < 2 or not len(held):
            continue
        for i, strength in enumerate(STRENGTHS):
            weights, bias = _fit(z[fit], y[fit], strength)
            losses[i] += _balanced_log_loss(z[held] @ weights.T + bias, np.searchsorted(classes, y[held]))
    return STRENGTHS[int(losses.argmin())]


def _balanced_log_loss(logits: Floats, truth: NDArray[np.int_]) -> float:
    """Return the log loss in nats, every class counting the same."""
    logits = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(truth)), truth]
    return float(np.mean([losses[truth == k].mean() for k in np.unique(truth)]))


def one_blas_thread() -> AbstractContextManager[object]:
    """Return a context in which linear algebra uses one thread: on small matrices more are slower, tenfold on busy cores."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


def calibration_error(probabilities: Floats, correct: NDArray[np.bool_], bins: int = 10) -> float:
    """Return the expected calibration error, 0-1: |accuracy - confidence| averaged over bins of the top probability.

    Source: Guo et al. 2017, equation 3.
    """
    if not len(correct):
        return float("nan")
    confidence = probabilities.max(axis=1)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    bins_hit = [which == b for b in np.unique(which)]
    return float(sum(abs(correct[hit].mean() - confidence[hit].mean()) * hit.mean() for hit in bins_hit))


def save_probe(probe: LesionProbe, path: Path) -> None:
    """Write the probe as one safetensors file, atomically."""
    tensors = {"weights": probe.weights, "bias": probe.bias, "mean": probe.mean, "scale": probe.scale}
    save_arrays(tensors, {"format": _FORMAT, "classes": probe.classes, "strength": probe.strength}, path)


def load_probe(path: Path) -> LesionProbe:
    """Return the probe in a safetensors file.

    Raises:
        CheckFailed: the file is missing, damaged or of another format.
    """
    try:
        tensors, about = load_arrays(path)
        kept = {name: tensors[name] for name in ("weights", "bias", "mean", "scale")}
        return LesionProbe(tuple(about["classes"]), **kept, strength=float(about["strength"]))
    except (OSError, KeyError, ValueError) as error:
        raise CheckFailed(
            f"{path.name}: not a readable probe ({type(error).__name__}); delete it and run `equiderm produce`"
        ) from None
