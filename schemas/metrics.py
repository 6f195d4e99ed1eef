"""What evaluate writes: evaluation/metrics.json is one `Metrics`; each of its four lists is also a Parquet table.

A number that could not be measured is `value = null` with a `reason` and the `n` there was; nothing is ever filled in.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import NotFoundError
from schemas.table import Int8, Row
from schemas.words import Lesion, Modality


class SkinGroup(StrEnum):
    """Whom a number is about. `unknown`: images whose source gives no FST."""

    ALL = "all"
    LIGHT = "light"
    DARK = "dark"
    UNKNOWN = "unknown"


GROUP_LABEL: Final[dict[SkinGroup, str]] = {
    SkinGroup.ALL: "all",
    SkinGroup.LIGHT: "FST I-III",
    SkinGroup.DARK: "FST IV-VI",
    SkinGroup.UNKNOWN: "FST unknown",
}
"""How a group is written in tables and pictures."""


def skin_group(fst: int | None) -> SkinGroup:
    """Return the group of one Fitzpatrick type: light 1-3, dark 4-6, unknown for null."""
    if fst is None:
        return SkinGroup.UNKNOWN
    return SkinGroup.LIGHT if fst <= 3 else SkinGroup.DARK


class FidelityMetric(StrEnum):
    """kid: unbiased squared MMD, cubic kernel, may fall below 0. fd: Frechet distance, which grows as n shrinks."""

    KID = "kid"
    FD = "fd"


class Comparison(StrEnum):
    """Which two sets were compared. `real_real` is the reference: two disjoint halves of the real images."""

    SYNTHETIC_REAL = "synthetic_real"
    REAL_REAL = "real_real"


class RealImages(StrEnum):
    """Which real images were compared. `all` has those among them that the generator learned from and gates were fitted on."""

    TEST = "test"
    ALL = "all"


class ToneImages(StrEnum):
    """attempted: every attempt, before any gate. accepted: those that are released."""

    ATTEMPTED = "attempted"
    ACCEPTED = "accepted"


class ToneMeasure(StrEnum):
    """share_in_band: 0-1, no tolerance. median_error_deg: measured minus requested ITA, degrees; > 0 is too light."""

    SHARE_IN_BAND = "share_in_band"
    MEDIAN_ERROR = "median_error_deg"


class Training(StrEnum):
    """What the classifier learned from. difference: real_synthetic minus real, same resampled test patients."""

    REAL = "real"
    REAL_SYNTHETIC = "real_synthetic"
    DIFFERENCE = "difference"


class UtilityMeasure(StrEnum):
    """edfr: |FNR light - FNR dark|. fairness_gap: accuracy light minus accuracy dark. Both have group `all`."""

    ACCURACY = "accuracy"
    MELANOMA_FNR = "melanoma_fnr"
    EDFR = "edfr"
    FAIRNESS_GAP = "fairness_gap"


class Tables(StrEnum):
    """Files under evaluation/, one a list of `Metrics`."""

    COUNTS = "counts.parquet"
    FIDELITY = "fidelity.parquet"
    TONE = "tone.parquet"
    UTILITY = "utility.parquet"


class CountRow(Row):
    """One planned stratum: what was asked, what came."""

    modality: Modality
    fst: Int8 | None
    lesion: Lesion
    real_train: int = Field(ge=0, description="real training images")
    quota: int = Field(ge=0, description="synthetic images asked for")
    accepted: int = Field(ge=0)
    shortfall: int = Field(ge=0, description="quota - accepted")
    attempts: int = Field(ge=0)


class Estimate(Row):
    """A number, its interval and the images behind it. `value` null: not measured, and `reason` says why."""

    value: float | None
    low: float | None = Field(description="lower end of the interval; null where none could be computed")
    high: float | None
    n: int = Field(ge=0, description="images behind the number (for a comparison: of each kind)")
    reason: str | None = Field(description="why value is null; null otherwise")


class FidelityRow(Estimate):
    """How far apart two sets of images are in feature space; both hold equally many images of every stratum."""

    modality: Modality
    group: SkinGroup
    metric: FidelityMetric
    extractor: str = Field(description="numbers of different extractors are never compared")
    comparison: Comparison
    real_images: RealImages = Field(
        description="test: no training saw them; all: too few of those, so a generator that repeats what it learned from "
        "looks better than it is"
    )


class ToneRow(Estimate):
    """How well the measured tone follows the requested one, for one Fitzpatrick type."""

    modality: Modality
    fst: Int8 | None
    images: ToneImages
    measure: ToneMeasure


class UtilityRow(Estimate):
    """What a classifier gains from the synthetic images, on the real test split."""

    modality: Modality
    group: SkinGroup
    training: Training
    measure: UtilityMeasure
    n_train: int = Field(ge=0, description="training images of the classifier (for `difference`: of the larger set)")


class Metrics(BaseModel):
    """evaluation/metrics.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    extractor: str = Field(description="name of the feature extractor behind fidelity and utility")
    generator: str
    generator_start: str | None = Field(
        description="`base`: fine-tuned from the shipped base, which has seen every stratum of phantoms; `scratch`: not"
    )
    interval: float = Field(gt=0, lt=1, description="coverage of every interval, e.g. 0.95")
    resamples: int = Field(ge=1)
    seed: int
    counts: list[CountRow]
    fidelity: list[FidelityRow]
    tone: list[ToneRow]
    utility: list[UtilityRow]


def load_metrics(evaluation: Path) -> Metrics:
    """Return what evaluate wrote into the folder `evaluation`.

    Raises:
        NotFoundError: there is no readable metrics.json in it.
    """
    path = evaluation / "metrics.json"
    try:
        return Metrics.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"{path.name}: not there; release needs it; run `equiderm evaluate` first") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise NotFoundError(
            f"{path.name}: {'.'.join(map(str, first['loc']))} is not what it should be; run `equiderm evaluate` again"
        ) from None
