"""The manifest of a mirrored source: one row a file that its source names, whether it came or not."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from schemas.table import Int32, Row


class FetchStatus(StrEnum):
    """What became of a file. Only `fetched` files lie in the mirror."""

    FETCHED = "fetched"
    FAILED = "failed"
    """Asked for and not got."""
    REFUSED = "refused"
    """Never asked for: its name or address cannot be used."""
    REMOVED = "removed"
    """Was here; its source names it no more."""


class FetchedRow(Row):
    """One file of a source that is not local."""

    name: str = Field(description="path within the mirror, with forward slashes")
    url: str = Field(description="where it comes from")
    status: FetchStatus
    etag: str | None = Field(description="as its server gave it, with quotes")
    modified: datetime | None = Field(description="as its server gave it; the mirrored file has the same")
    bytes: int = Field(ge=0)
    sha256: str | None = Field(description="of the bytes that came; null if none did")
    reason: str | None = Field(description="why it did not come, or is gone")
    attempts: Int32 = Field(ge=0)
    fetched_at: datetime = Field(description="when it came, or was last asked for")
