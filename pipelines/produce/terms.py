"""What every worker of a production must agree on before it makes anything: code, checkpoint and parameters."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipelines.generators.checkpoint import read_config
from pipelines.produce.identity import digest
from pipelines.produce.plan import ProductionPlan
from schemas.code import code_sha256
from schemas.errors import CheckFailed
from schemas.params import Params, load_params
from schemas.paths import Workspace


class Terms(BaseModel):
    """What the plan was made with. Frozen; goes with every block to the worker that makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    code_sha256: str
    checkpoints: dict[str, str]  # sha256 by generator
    params: str  # digest of what of params.yaml decides an image


def terms_of(params: Params, plan: ProductionPlan) -> Terms:
    """Return the terms of a plan made by this process."""
    checkpoints = {name: model.checkpoint_sha256 for name, model in plan.models.items()}
    return Terms(code_sha256=code_sha256(), checkpoints=checkpoints, params=params_digest(params))


def params_digest(params: Params) -> str:
    """Return 24 hex digits over the parameters that decide an image; how many do the work, and for how long, is none of them."""
    return digest(
        [params.ingest.resolution, params.produce.model_dump(mode="json", exclude={"workers", "block_timeout_s"})]
    )


def require_terms(workspace: Workspace, generator: str, terms: Terms) -> None:
    """Return if this process, with the workspace as it sees it, would make the planned images.

    Raises:
        CheckFailed: its code, its params.yaml or its checkpoint is another one.
        UserError: one of them is not there.
    """
    found = {
        "code (pipelines/ and schemas/)": (code_sha256(), terms.code_sha256),
        "params.yaml": (_params_digest(workspace.params, _stamp(workspace.params)), terms.params),
        f"models/{generator}": (
            str(read_config(workspace.model(generator)).get("sha256")),
            terms.checkpoints[generator],
        ),
    }
    for what, (here, planned) in found.items():
        if here != planned:
            raise CheckFailed(
                f"worker: {what} is {here[:12]}, planned with {planned[:12]}; nothing was made here; "
                f"give every worker the same checkout and workspace, then run `equiderm produce` again"
            )


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=4)
def _params_digest(path: Path, stamp: int) -> str:  # noqa: ARG001 (stamp: part of the cache key)
    return params_digest(load_params(path))
