"""What a production came to: production/result.json."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import WorkspaceError
from schemas.words import Lesion, Modality, Support


class StratumResult(BaseModel):
    """One stratum: asked, made, missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stratum: str = Field(description="e.g. phantom/VI/melanoma")
    modality: Modality
    fst: int | None
    lesion: Lesion
    support: Support
    generator: str = Field(description="the one that made it")
    choice: str | None = Field(description="why that one; null where no other was named")
    quota: int
    accepted: int
    attempts: int
    attempt_limit: int
    shortfall: int = Field(description="quota - accepted: nothing is filled in for it")
    surplus: int = Field(description="passed every gate after the stratum was full")
    rejected: dict[str, int] = Field(description="attempts by the first gate that refused them")


class RejectionRate(BaseModel):
    """How often one gate refused attempts for one skin type. Attempts that it abstained from are not counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    modality: Modality
    fst: int | None
    gate: str = Field(description="its name; `any`: at least one gate")
    judged: int = Field(description="attempts it judged, whatever the gates before it said")
    refused: int
    rate: float = Field(description="refused / judged, 0-1")
    low: float = Field(description="95% interval (Wilson)")
    high: float


class ProductionResult(BaseModel):
    """Every planned stratum and the totals."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    generator: str = Field(description="the one that made the images; of several their names")
    generator_start: str | None = Field(description="base or scratch, as the checkpoint says; null if it does not")
    checkpoints: dict[str, str] = Field(description="sha256 by generator")
    calibration: str = Field(description="digest of the gates' calibration")
    quota: int
    accepted: int
    attempts: int
    shortfall: int
    rejected: dict[str, int]
    strata: list[StratumResult]
    rejection_rates: list[RejectionRate] = Field(description="by gate and skin type")
    warnings: list[str] = Field(description="gates that refuse one skin type far more often than another")
    abstentions: list[str] = Field(description="gates that did not judge some skin types, and why")


def load_result(production: Path) -> ProductionResult:
    """Return what settle wrote into the folder `production`.

    Raises:
        WorkspaceError: it has not run, or its file is not readable.
    """
    try:
        return ProductionResult.model_validate_json((production / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        raise WorkspaceError("production/result.json: none readable; run `equiderm produce` first") from None
