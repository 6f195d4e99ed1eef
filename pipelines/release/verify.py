"""Whether a release is what it says: every byte re-hashed, every count taken again, every picture decoded."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, computed_field

from pipelines.release.recount import recount
from pipelines.release.seal import file_sha256, files_of, read_sums
from schemas.errors import NotFoundError
from schemas.release import SUMS, Finding


class VerifyResult(BaseModel):
    """What verify_release found. A release is sound if `findings` is empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    digest: str | None = Field(description="sha256 of SHA256SUMS; null if there is none")
    files: int = Field(description="hashed")
    images: int = Field(description="whose bytes were hashed against the index")
    decoded: int = Field(description="of them, decoded to pixels")
    findings: list[Finding]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        return not self.findings

    def text(self) -> str:
        """Return the result for a person: one line a finding, then the verdict."""
        lines = [f"{finding.file}: {finding.message}" for finding in self.findings]
        seen = f"{self.files} files hashed, {self.images} images checked, {self.decoded} decoded"
        verdict = "sound" if self.passed else f"{len(self.findings)} finding{'s' if len(self.findings) > 1 else ''}"
        return "\n".join([*lines, f"{self.name}: {verdict}; {seen}; digest {self.digest or 'none'}"])


def verify_release(folder: Path, *, decode_every: int = 1) -> VerifyResult:
    """Return what is wrong with the release in `folder`; it needs nothing but that folder.

    Files are compared with SHA256SUMS (changed, missing, extra), counts with the tables, and each image's bytes with
    its sha256 in the index; every `decode_every`-th image is decoded too. What a damaged file would say is not asked,
    so one flipped byte gives one finding. Whoever can write the folder can write SHA256SUMS as well: compare `digest`
    with the one the release was announced with.

    Raises:
        NotFoundError: there is no such folder.
        ValueError: decode_every is below 1.
    """
    if decode_every < 1:
        raise ValueError(f"decode_every is {decode_every}; it needs to be 1 (every image) or more")
    if not folder.is_dir():
        raise NotFoundError(f"release {folder.name}: no such folder; `equiderm releases` lists those that are here")
    findings = check_sums(folder)
    damaged = frozenset(finding.file for finding in findings)
    counted = recount(folder, damaged, decode_every)
    sums = folder / SUMS
    return VerifyResult(
        name=folder.name,
        digest=file_sha256(sums) if sums.is_file() else None,
        files=len(files_of(folder)),
        images=counted.images,
        decoded=counted.decoded,
        findings=findings + counted.findings,
    )


def check_sums(folder: Path) -> list[Finding]:
    """Return every file that SHA256SUMS names and that is gone or has other bytes, and every file it does not name."""
    try:
        sums = read_sums((folder / SUMS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [
            Finding(code="missing", file=SUMS, message="not there, so no file can be compared; fetch the release again")
        ]
    except (ValueError, UnicodeDecodeError) as error:
        return [Finding(code="unreadable", file=SUMS, message=f"{error}; fetch the release again")]
    found = []
    present = set(files_of(folder))
    for name, digest in sums.items():
        if name not in present:
            found.append(Finding(code="missing", file=name, message="named in SHA256SUMS, not there; fetch it again"))
        elif not (folder / name).is_file():
            found.append(Finding(code="missing", file=name, message="a link that leads nowhere; fetch it again"))
        elif (actual := file_sha256(folder / name)) != digest:
            message = f"sha256 {actual[:12]}, SHA256SUMS says {digest[:12]}; its bytes were changed; fetch it again"
            found.append(Finding(code="changed", file=name, message=message))
    extra = sorted(present - set(sums))
    found += [Finding(code="extra", file=name, message="not named in SHA256SUMS; remove it") for name in extra]
    return found
