"""The skin type probe: ordinal regression of the Fitzpatrick type on skin colour and, where they help, frozen features.

It reads what people wrote about real training images. Where its own held-out reading does not agree with them it is not
to be trusted, and says so: see `check_probe`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.tone import Ita
from pipelines.probes.arrays import load_arrays, save_arrays
from pipelines.probes.lesion import one_blas_thread
from schemas.errors import CheckFailed

STRENGTHS: Final = (1e-2, 1e-1, 1.0)
"""Inverse regularisation strengths tried. Phantoms would take any: their colour says their type exactly."""

COMPONENTS: Final = 32

WORTH: Final = 0.05
"""Nats of held-out log loss that features have to gain over colour alone. A generator's images differ from real ones in
features before they do in colour: with features for nothing, 36% of synthetic images with the ITA of FST I were refused."""

FOLDS: Final = 4
COLOURS: Final = 4
"""Numbers a skin's colour is described by: median L*, a*, b*, and the ITA."""
_FORMAT: Final = 1
Floats = NDArray[np.float64]


def colours(tones: Sequence[Ita]) -> Floats:
    """Return (N, 4): median L*, a*, b* and ITA in degrees of the skin; nan where none was found."""
    return np.array([[*t.lab, t.deg] if t.lab and t.deg is not None else [np.nan] * COLOURS for t in tones]).reshape(
        len(tones), COLOURS
    )


@dataclass(frozen=True)
class SkinTypeProbe:
    """A fitted probe. P(type <= t_k) = sigmoid(limits_k - weights . ((x - mean) / scale)), x = colours and features."""

    types: tuple[int, ...]  # those it was fitted on, ascending
    weights: Floats  # (D,)
    limits: Floats  # (K - 1,), ascending
    mean: Floats  # (D,)
    scale: Floats  # (D,)
    strength: float

    def probabilities(self, colour: Floats, features: NDArray[np.floating]) -> Floats:
        """Return (N, K) probabilities, 0-1, columns in the order of `types`. No skin found: the average colour."""
        x = np.concatenate([colour, features.astype(np.float64)], axis=1)
        z = np.nan_to_num((x - self.mean) / self.scale)
        return _chances(z @ self.weights, self.limits)

    def near(self, chances: Floats, fst: int) -> Floats:
        """Return (N,) the probability of `fst` or a neighbour of it, 0-1."""
        close = [abs(t - fst) <= 1 for t in self.types]
        total: Floats = chances[:, close].sum(axis=1)
        return total


class Setting(NamedTuple):
    """How a probe is fitted."""

    strength: float
    by_features: bool


def fit_skin_type_probe(
    colour: Floats, features: NDArray[np.floating], fst: NDArray[np.int_], strength: float, *, by_features: bool
) -> SkinTypeProbe:
    """Return a probe fitted with every skin type weighing the same: proportional odds (McCullagh 1980), ridge penalty.

    Features enter as their first 32 principal components, scaled so that the first has a variance of 1.

    Args:
        colour: (N, 4), see `colours`.
        features: (N, D).
        fst: (N,) 1-6, two types or more.
        strength: inverse of the penalty on squared weights.
        by_features: whether the features count at all, or colour alone.
    """
    x = np.concatenate([colour, features.astype(np.float64)], axis=1)
    with one_blas_thread():
        mean, scale = np.nan_to_num(np.nanmean(x, axis=0)), np.nanstd(x, axis=0)
        scale = np.where(scale > 1e-6, scale, 1.0)
        z = np.nan_to_num((x - mean) / scale)
        axes, spread = _components(z[:, COLOURS:]) if by_features else (np.zeros((0, z.shape[1] - COLOURS)), 1.0)
        parts = np.concatenate([z[:, :COLOURS], z[:, COLOURS:] @ axes.T / spread], axis=1)
        types = np.unique(fst)
        weights, limits = _fit(parts, np.searchsorted(types, fst), len(types), strength)
    whole = np.concatenate([weights[:COLOURS], weights[COLOURS:] @ axes / spread])
    return SkinTypeProbe(tuple(int(t) for t in types), whole, limits, mean, scale, strength)


def _components(z: Floats) -> tuple[Floats, float]:
    """Return principal axes (C, D) and the first one's standard deviation."""
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    return axes[:COMPONENTS], max(float(singular[0]) / math.sqrt(len(z)), 1e-9)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -40, 40))))


def _chances(position: Floats, limits: Floats) -> Floats:
    upto = _sigmoid(limits[None] - position[:, None])
    return np.diff(np.concatenate([upto, np.ones((len(upto), 1))], axis=1), axis=1, prepend=0)


def _fit(z: Floats, y: NDArray[np.intp], k: int, strength: float) -> tuple[Floats, Floats]:
    """Return weights (D,) and k - 1 ascending limits that minimise the balanced log loss plus the penalty."""
    from scipy.optimize import minimize

    counts = np.bincount(y, minlength=k)
    share = len(y) / (k * counts[y])
    d = z.shape[1]
    top, bottom = y == k - 1, y == 0

    def loss(p: Floats) -> tuple[float, Floats]:
        limits = np.cumsum(np.concatenate([p[d : d + 1], np.exp(p[d + 1 :])]))
        position = z @ p[:d]
        above = np.where(top, 1.0, _sigmoid(limits[np.minimum(y, k - 2)] - position))
        below = np.where(bottom, 0.0, _sigmoid(limits[np.maximum(y - 1, 0)] - position))
        chance = np.maximum(above - below, 1e-12)
        rise, fall = np.where(top, 0.0, above * (1 - above)), below * (1 - below)
        pull = share / chance
        by_limit = np.bincount(np.minimum(y, k - 2), -pull * rise, k - 1)
        by_limit += np.bincount(np.maximum(y - 1, 0), np.where(bottom, 0.0, pull * fall), k - 1)
        rest = np.cumsum(by_limit[::-1])[::-1]  # a step moves every limit after it
        slope = np.concatenate([rest[:1], rest[1:] * np.exp(p[d + 1 :])])
        weights = -((pull * (fall - rise)) @ z) + p[:d] / strength
        return float(-(share * np.log(chance)).sum() + p[:d] @ p[:d] / (2 * strength)), np.concatenate([weights, slope])

    start = np.concatenate([np.zeros(d), [-(k - 1) / 2], np.zeros(k - 2)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return found[:d], np.cumsum(np.concatenate([found[d : d + 1], np.exp(found[d + 1 :])]))


def read_held_out(
    colour: Floats, features: NDArray[np.floating], fst: NDArray[np.int_], groups: Sequence[str]
) -> tuple[Floats, Setting]:
    """Return what probes fitted without an image's patient say of it, (N, 6) by type 1-6, and the best setting.

    The setting with the least balanced log loss over patient-disjoint folds wins; one with features has to be better by
    `WORTH`. Rows are nan where no fold had two types to learn from.
    """
    from sklearn.model_selection import GroupKFold

    settings = [Setting(strength, by_features) for by_features in (False, True) for strength in STRENGTHS]
    readings = {s: np.full((len(fst), 6), np.nan) for s in settings}
    if len(set(groups)) >= FOLDS:
        for fit, held in GroupKFold(FOLDS).split(features, fst, np.asarray(groups)):
            for setting in settings if len(np.unique(fst[fit])) > 1 else ():
                probe = fit_skin_type_probe(
                    colour[fit], features[fit], fst[fit], setting.strength, by_features=setting.by_features
                )
                readings[setting][held] = by_type(probe, colour[held], features[held])
    best = min(settings, key=lambda s: _log_loss(readings[s], fst) + WORTH * s.by_features)
    return readings[best], best


def by_type(probe: SkinTypeProbe, colour: Floats, features: NDArray[np.floating]) -> Floats:
    """Return (N, 6) probabilities of types 1-6; 0 for those that the probe was not fitted on."""
    found = np.zeros((len(features), 6))
    found[:, [t - 1 for t in probe.types]] = probe.probabilities(colour, features)
    return found


def _log_loss(reading: Floats, fst: NDArray[np.int_]) -> float:
    known = np.isfinite(reading).all(axis=1)
    losses = -np.log(np.maximum(reading[known, fst[known] - 1], 1e-6))
    return float(np.mean([losses[fst[known] == t].mean() for t in np.unique(fst[known])])) if known.any() else 0.0


def save_skin_type_probe(probe: SkinTypeProbe, path: Path) -> None:
    """Write the probe as one safetensors file, atomically."""
    tensors = {"weights": probe.weights, "limits": probe.limits, "mean": probe.mean, "scale": probe.scale}
    save_arrays(tensors, {"format": _FORMAT, "types": probe.types, "strength": probe.strength}, path)


def load_skin_type_probe(path: Path) -> SkinTypeProbe:
    """Return the probe in a safetensors file.

    Raises:
        CheckFailed: the file is missing, damaged or of another format.
    """
    try:
        tensors, about = load_arrays(path)
        kept: dict[str, Any] = {name: tensors[name] for name in ("weights", "limits", "mean", "scale")}
        return SkinTypeProbe(tuple(about["types"]), **kept, strength=float(about["strength"]))
    except (OSError, KeyError, ValueError) as error:
        raise CheckFailed(
            f"{path.name}: not a readable probe ({type(error).__name__}); delete it and run `equiderm produce`"
        ) from None
