"""release.json: what a release is, from its inputs and the code that made it; no clock is asked."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from pydantic import BaseModel

from pipelines.release.inputs import Inputs
from pipelines.release.tally import checkpoints
from schemas.code import code_sha256
from schemas.release import ReleaseFacts
from schemas.words import Modality

HOW_ONLY: Final = frozenset({"workers", "block_timeout_s"})


def canonical_sha256(value: Any) -> str:
    """Return the sha256 of a value as canonical JSON: sorted keys, no spaces; pydantic models by their aliases.

    How many do the work and for how long is left out of parameters: it never changes a result.
    """
    plain = _result_params(value.model_dump(mode="json", by_alias=True)) if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _result_params(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    return {key: _result_params(item) for key, item in plain.items() if key not in HOW_ONLY}


def code_version() -> str:
    """Return the installed package's version, e.g. `0.1.0`."""
    try:
        return version("equiderm")
    except PackageNotFoundError:
        return "not installed"


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
