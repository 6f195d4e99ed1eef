"""What parts of a production took on this machine: one JSON line each, in the machine's own state, never in a result."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Timing(BaseModel):
    """One measured piece of work."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    what: Literal["start", "first", "block", "round", "schedule", "settle"] = Field(
        description="start: until the first block; first: a process's first block, which loads the models; block: any "
        "other; round: the blocks of one round together; schedule: finding what is missing; settle: ledger and shards"
    )
    generator: str = Field("", description="of a block")
    device: str = Field("cpu", description="that a block was sampled on")
    workers: int = Field(1, ge=1, description="blocks at once, as configured")
    attempts: int = Field(0, ge=0, description="made in it; for schedule and settle all of the production")
    blocks: int = Field(0, ge=0)
    seconds: float = Field(ge=0, description="by the clock")
    busy: float = Field(0.0, ge=0, description="processor seconds, all cores together; of a round: its blocks' seconds")
    bytes: int = Field(0, ge=0, description="written")
