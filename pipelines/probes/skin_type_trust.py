"""Whether the skin type probe may judge: how far its held-out reading agrees with what people wrote, in all and by type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipelines.probes.lesion import calibration_error
from pipelines.probes.skin_type import Setting
from schemas.params import GateParams
from schemas.words import FST_RANGE, FST_ROMAN

FEWEST_OF_A_TYPE: Final = 10
"""Held-out images of a type below which nothing is said about how often it would be refused."""

MOST_REFUSED: Final = 0.1
"""Share of a type's real held-out images from which the gate would harm it more than help."""

RESAMPLES: Final = 400
Floats = NDArray[np.float64]


class SkinTypeRecord(BaseModel):
    """How the probe read one skin type's held-out real images."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fst: int
    n_train: int
    n_held_out: int
    accuracy: float | None  # share read as exactly this type, 0-1
    mean_error: float | None  # |likeliest type - this type|, types
    refused: float | None  # share that the gate would refuse, 0-1
    trusted: bool  # whether the gate judges images asked for as this type


class SkinTypeTrust(BaseModel):
    """How the probe reads held-out real images, and whether the gate may use it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    trusted: bool
    reason: str | None  # why not
    n_held_out: int
    accuracy: float | None
    calibration_error: float | None  # expected calibration error, 0-1
    kappa: float | None  # quadratic-weighted agreement with the labels, -1 to 1
    kappa_low: float | None  # 95% interval over patients
    kappa_high: float | None
    strength: float | None
    by_features: bool | None = None  # whether features read it better than colour alone
    types: tuple[SkinTypeRecord, ...] = ()

    def judges(self, fst: int | None) -> bool:
        """Return whether the gate judges images asked for as `fst`."""
        return self.trusted and any(t.fst == fst and t.trusted for t in self.types)


def no_probe(reason: str) -> SkinTypeTrust:
    """Return the record of a probe that could not be fitted."""
    nothing = dict.fromkeys(("accuracy", "calibration_error", "kappa", "kappa_low", "kappa_high", "strength"))
    return SkinTypeTrust(trusted=False, reason=reason, n_held_out=0, **nothing)


def check_probe(
    reading: Floats,
    fst: NDArray[np.int_],
    whose: Sequence[str],
    n_train: NDArray[np.int_],
    setting: Setting,
    gates: GateParams,
) -> SkinTypeTrust:
    """Return what the probe is worth on held-out images.

    It is trusted where the lower end of kappa's 95% interval (bootstrap over patients) reaches `tone_probe_min_kappa`,
    and for each type of which 10 or more images were held out and at most a tenth would be refused.

    Args:
        reading: (N, 6) probabilities of types 1-6 on held-out images; rows of nan were not read.
        fst: (N,) what people wrote, 1-6.
        whose: (N,) patients.
        n_train: (6,) training images of each type.
    """
    known = np.flatnonzero(np.isfinite(reading).all(axis=1))
    reading, fst, whose = reading[known], fst[known], [whose[int(i)] for i in known]
    if not len(fst):
        return no_probe("too few patients with a skin type to hold any out")
    named = reading.argmax(axis=1) + 1
    kappa, low, high = _kappa_interval(fst, named, whose)
    enough = low >= gates.tone_probe_min_kappa
    reason = (
        f"agreement with {len(fst)} held-out labels is kappa {kappa:.2f} ({low:.2f} to {high:.2f}); "
        f"the lower end needs {gates.tone_probe_min_kappa:g}"
    )
    return SkinTypeTrust(
        trusted=enough,
        reason=None if enough else reason,
        n_held_out=len(fst),
        accuracy=float((named == fst).mean()),
        calibration_error=calibration_error(reading, named == fst),
        kappa=kappa,
        kappa_low=low,
        kappa_high=high,
        strength=setting.strength,
        by_features=setting.by_features,
        types=tuple(_record(t, reading, fst, named, int(n_train[t - 1]), gates) for t in FST_RANGE),
    )


def _record(
    kind: int, reading: Floats, fst: NDArray[np.int_], named: NDArray[np.int_], n_train: int, gates: GateParams
) -> SkinTypeRecord:
    mine = fst == kind
    n = int(mine.sum())
    near = reading[mine][:, [abs(t - kind) <= 1 for t in FST_RANGE]].sum(axis=1)
    refused = float((near < gates.tone_probe_min_probability).mean()) if n else None
    return SkinTypeRecord(
        fst=kind,
        n_train=n_train,
        n_held_out=n,
        accuracy=float((named[mine] == kind).mean()) if n else None,
        mean_error=float(np.abs(named[mine] - kind).mean()) if n else None,
        refused=refused,
        trusted=n >= FEWEST_OF_A_TYPE and refused is not None and refused <= MOST_REFUSED,
    )


def _kappa_interval(fst: NDArray[np.int_], named: NDArray[np.int_], whose: Sequence[str]) -> tuple[float, float, float]:
    _, patient = np.unique(np.asarray(whose), return_inverse=True)
    pairs = np.zeros((patient.max() + 1, 36))
    np.add.at(pairs, (patient, (fst - 1) * 6 + named - 1), 1)
    drawn = np.random.default_rng(0).multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=RESAMPLES)
    draws = [quadratic_kappa(counts.reshape(6, 6)) for counts in drawn @ pairs]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return quadratic_kappa(pairs.sum(axis=0).reshape(6, 6)), float(low), float(high)


def quadratic_kappa(confusion: Floats) -> float:
    """Return the quadratic-weighted kappa of counts (K, K), -1 to 1 (Cohen 1968); 0 where one side never varies."""
    grid = np.arange(len(confusion))
    off = (grid[:, None] - grid[None]) ** 2
    expected = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / max(confusion.sum(), 1e-9)
    chance = float((off * expected).sum())
    return 1 - float((off * confusion).sum()) / chance if chance > 0 else 0.0


def abstentions(trust: SkinTypeTrust) -> str:
    """Return whom the gate does not judge, as one line; empty if it judges every type."""
    if not trust.trusted:
        return f"abstains: {trust.reason}"
    left = [FST_ROMAN[t.fst] for t in trust.types if not t.trusted]
    return f"abstains for FST {', '.join(left)}: too few held-out images, or too many refused" if left else ""
