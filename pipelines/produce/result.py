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
    quota: int
    accepted: int
    attempts: int
    attempt_limit: int
    shortfall: int = Field(description="quota - accepted: nothing is filled in for it")
    surplus: int = Field(description="passed every gate after the stratum was full")
    rejected: dict[str, int] = Field(description="attempts by the first gate that refused them")


class ProductionResult(BaseModel):
    """Every planned stratum and the totals."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    generator: str
    generator_start: str | None = Field(description="base or scratch, as the checkpoint says; null if it does not")
    checkpoint_sha256: str
    calibration: str = Field(description="digest of the gates' calibration")
    quota: int
    accepted: int
    attempts: int
    shortfall: int
    rejected: dict[str, int]
    strata: list[StratumResult]


def load_result(production: Path) -> ProductionResult:
    """Return what settle wrote into the folder `production`.

    Raises:
        WorkspaceError: it has not run, or its file is not readable.
    """
    try:
        return ProductionResult.model_validate_json((production / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        raise WorkspaceError("production/result.json: none readable; run `equiderm produce` first") from None
