"""Parameters of the quotas: which policy, how many images, and how far real ones may be outnumbered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from schemas.section import Section
from schemas.words import parse_stratum

Wanted = Annotated[int, Field(strict=True, ge=0, le=10**9)]


class QuotaParams(Section):
    """How many images of each stratum a balanced set needs. pipelines/stratify/targets.py says what each policy means."""

    policy: Literal["equal", "parity", "match", "table"] = Field(
        "equal",
        description="equal: the same in every stratum; parity: the same for each FST, its own lesion mix kept; "
        "match: each FST with the lesion mix of the best-served one; table: as listed",
    )
    count: Literal["real_and_synthetic", "synthetic_only"] = Field(
        "real_and_synthetic", description="what the numbers below count: both kinds, or synthetic images alone"
    )
    per_stratum: int = Field(40, ge=0, le=10**9, description="images wanted in each stratum; policy equal")
    per_fst: int | None = Field(
        None,
        ge=0,
        le=10**9,
        description="images wanted of each FST; policies parity and match; null: as many real ones as the best-served has",
    )
    table: dict[str, Wanted] | None = Field(
        None, description="images wanted by stratum, e.g. {phantom/VI/melanoma: 40}; policy table; others want none"
    )
    table_file: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]+\.(csv|parquet)$",
        description="the same as a file in infra/quotas with the columns stratum and images; policy table",
    )
    max_images: int = Field(10**6, ge=0, le=10**9, description="most synthetic images in all; by largest remainder")
    max_synthetic_per_real: float = Field(
        10.0, gt=0, le=10**6, description="per stratum; published gains saturate near 10"
    )
    unsupported: Literal["refuse", "make"] = Field("refuse", description="what to do below the support floor")

    @field_validator("table")
    @classmethod
    def _strata_have_names(cls, table: dict[str, int] | None) -> dict[str, int] | None:
        for name in table or ():
            parse_stratum(name)
        return table

    @model_validator(mode="after")
    def _one_table_for_policy_table(self) -> QuotaParams:
        given = [name for name in ("table", "table_file") if getattr(self, name) is not None]
        if len(given) != (self.policy == "table"):
            raise ValueError(
                f"policy is {self.policy} with {' and '.join(given) or 'no table'}; policy table needs one of table and "
                "table_file, any other neither; change one of them"
            )
        return self
