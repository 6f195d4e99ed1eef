"""What a source was when somebody accepted it, and how it differs now."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

FIRST_USE: Final = "first use"
"""Who accepted a source that nobody had looked at: the first build that read it. Its record says so."""


class Profile(BaseModel):
    """What of a source must not change unseen. Times of files are left out: copying a folder is no drift."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    adapter: str
    modality: str
    licence: str = Field(description="a key of LICENCES")
    licence_allows: list[str]
    citation: str
    licence_files: dict[str, str] = Field(description="LICENSE and like files beside the table: name -> sha256")
    rows: int = Field(description="of the publisher's table")
    files_without_row: int
    image_files: int
    image_bytes: int
    mask_files: int
    columns: list[str] = Field(description="of the table, in its order")
    labels: dict[str, int] = Field(description="the publisher's label -> rows")
    fst: dict[str, int] = Field(description="Fitzpatrick type 1-6 or unknown -> rows")
    tables: dict[str, str] = Field(description="file name -> sha256")


Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text that somebody wrote: blanks are nobody's name and no reason."""


class Acceptance(BaseModel):
    """One entry of infra/accepted/<source>.json: who accepted which state of a source, when and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    by: Said
    when: datetime
    why: Said
    digest: str = Field(description="sha256 of the profile as canonical JSON")
    profile: Profile


class Change(BaseModel):
    """One difference between the accepted state of a source and the state found."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    what: str
    was: str
    now: str
    by: str = Field(description="by how much, in the unit of what changed")
    limit: str = Field(description="how much would have been let pass")
    stops: bool = Field(description="whether a build stops for it; the others are only reported")


class Survey(BaseModel):
    """How one source stands against what was accepted of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    state: str = Field(description="as accepted, changed within limits, first use, drawn here")
    accepted_by: str | None
    accepted_when: datetime | None
    changes: list[Change]
