"""release.json: what a release is, from its inputs and the code that made it; no clock is asked."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from pipelines.release.inputs import Inputs
from pipelines.release.tally import checkpoints
from schemas.release import ReleaseFacts
from schemas.words import Modality

_ROOT: Final = Path(__file__).parents[2]
_CODE: Final = ("pipelines", "schemas")
_SUFFIXES: Final = frozenset({".py", ".sql", ".json", ".j2", ".css", ".csv"})


def canonical_sha256(value: Any) -> str:
    """Return the sha256 of a value as canonical JSON: sorted keys, no spaces; pydantic models by their aliases.

    `workers` is left out of parameters: how many do the work never changes a result.
    """
    plain = _result_params(value.model_dump(mode="json", by_alias=True)) if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _result_params(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    return {key: _result_params(item) for key, item in plain.items() if key != "workers"}


def code_version() -> str:
    """Return the installed package's version, e.g. `0.1.0`."""
    try:
        return version("equiderm")
    except PackageNotFoundError:
        return "not installed"


def code_sha256() -> str:
    """Return the sha256 over the names and contents of the source files that compute a release.

    Not the git commit: that changes with every commit, also one that only records a finished release, and the same
    code must give the same bytes. Any commit can be checked against it: check it out and call this function.
    """
    digest = hashlib.sha256()
    for package in _CODE:
        files = (p for p in (_ROOT / package).rglob("*") if p.suffix in _SUFFIXES and "__pycache__" not in p.parts)
        for path in sorted(files):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content}  {path.relative_to(_ROOT).as_posix()}\n".encode())
    return digest.hexdigest()


def release_facts(inputs: Inputs, counts: dict[str, int]) -> ReleaseFacts:
    """Return what is written to release.json."""
    release = inputs.params.release
    modalities = inputs.rows("SELECT DISTINCT modality FROM released ORDER BY modality")
    return ReleaseFacts(
        name=release.name,
        version=release.version,
        licence=inputs.terms.licence.id,
        licence_name=inputs.terms.licence.name,
        licence_allows=list(inputs.terms.allows),
        modalities=[Modality(row["modality"]) for row in modalities],
        generators=sorted({row["generator"] for row in checkpoints(inputs) if row["accepted"]}),
        counts=counts,
        code_version=code_version(),
        code_sha256=code_sha256(),
        params_sha256=canonical_sha256(inputs.params),
        contact=release.contact,
    )


def as_json(value: Any) -> str:
    """Return JSON for a file that people read too: two spaces, sorted keys, a newline at the end."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
