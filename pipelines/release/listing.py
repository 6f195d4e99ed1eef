"""Which releases are here."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.release.seal import file_sha256
from pipelines.release.verify import check_sums
from schemas.paths import Workspace
from schemas.release import SUMS, ReleaseFacts


class ReleaseEntry(BaseModel):
    """One release in the workspace. What its release.json does not say (because it is damaged) is null."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: str | None
    licence: str | None
    counts: dict[str, int] = Field(description="see ReleaseFacts.counts; empty if unreadable")
    bytes: int
    digest: str | None = Field(description="sha256 of SHA256SUMS: names every byte of the release")
    verified: bool | None = Field(description="whether every file has the sha256 it should have; null if not asked")


def list_releases(workspace: Workspace, *, rehash: bool = True) -> list[ReleaseEntry]:
    """Return the finished releases under releases/, by name; [] if there are none.

    With `rehash` every file is read once; `verify_release` says more.
    """
    if not workspace.releases.is_dir():
        return []
    folders = sorted(p for p in workspace.releases.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [_entry(folder, rehash) for folder in folders]


def _entry(folder: Path, rehash: bool) -> ReleaseEntry:
    try:
        facts = ReleaseFacts.model_validate_json((folder / "release.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        facts = None
    sums = folder / SUMS
    return ReleaseEntry(
        name=folder.name,
        version=facts.version if facts else None,
        licence=facts.licence if facts else None,
        counts=facts.counts if facts else {},
        bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        digest=file_sha256(sums) if sums.is_file() else None,
        verified=not check_sums(folder) if rehash else None,
    )
