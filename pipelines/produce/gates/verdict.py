"""What a gate is given and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.hashing import patterns
from pipelines.imaging.normalise import encode_png
from pipelines.imaging.tone import Ita, measure_ita
from pipelines.produce.calibration import ModalityCalibration, Reference, unit_length
from pipelines.produce.likeness import thumbnails
from schemas.params import GateParams
from schemas.words import Lesion

DECIMALS: Final = 4


class Verdict(NamedTuple):
    """One gate about one image. `score` is the ledger's `<gate>_score`, None where the gate abstains (it then keeps);
    `reason` is None where `keep` holds."""

    keep: bool
    score: float | None
    reason: str | None


def verdict(keep: bool, score: float, reason: str) -> Verdict:
    """Return a verdict that gives its reason only where it refuses."""
    return Verdict(bool(keep), float(score), None if keep else reason)


def steady(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return scores to 4 decimals. Kernels round differently in batches of other sizes; the ledger should not show it."""
    return np.asarray(np.round(scores, DECIMALS) + 0.0, dtype=np.float64)  # + 0.0: no -0.0


@dataclass(frozen=True)
class Candidates:
    """Images of one stratum to be judged, with everything measured on them once."""

    pixels: NDArray[np.uint8]  # (n, r, r, 3)
    features: NDArray[np.float32]  # (n, D)
    fst: int | None  # asked for
    lesion: Lesion  # asked for
    band_deg: tuple[float, float] | None  # ITA asked for; None: FST unknown

    @cached_property
    def files(self) -> list[bytes]:
        """Each image as the PNG file that is written if it is kept."""
        return [encode_png(image) for image in self.pixels]

    @cached_property
    def tones(self) -> list[Ita]:
        """Measured skin tone of each image."""
        return [measure_ita(image) for image in self.pixels]

    @property
    def ita_deg(self) -> list[float | None]:
        """Measured ITA of each image, degrees; None where no skin was found."""
        return [tone.deg for tone in self.tones]

    @cached_property
    def patterns(self) -> NDArray[np.float32]:
        """What each image shows whatever its colours, (n, 414)."""
        return patterns(self.pixels)

    @cached_property
    def thumbs(self) -> NDArray[np.uint8]:
        """Thumbnails, (n, 16, 16, 3)."""
        return thumbnails(self.pixels)

    @cached_property
    def units(self) -> NDArray[np.float32]:
        """Features scaled to length 1."""
        return unit_length(self.features)


@dataclass(frozen=True)
class Limits:
    """What the images are held against."""

    params: GateParams
    calibration: ModalityCalibration
    reference: Reference
