"""One accepted image made again from its ledger row alone, and held against the pixels that were kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipelines.imaging.normalise import decode_png
from pipelines.produce.identity import image_key, requested_ita
from schemas.errors import CheckpointError, NotFoundError
from schemas.ledger import AttemptRow, SyntheticRow
from schemas.params import SamplerParams
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import stratum_name

if TYPE_CHECKING:
    from pipelines.generators.interface import Generator

ALLOWED_LEVELS: Final = 8
"""Largest difference of a pixel, of 255, that is still rounding: kernels add up in another order at another batch size,
and a sampler of many steps carries that on. Another seed or checkpoint differs by 100 and more."""


class Remade(BaseModel):
    """What came of making an image again."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    image_id: str
    stratum: str
    generator: str
    checkpoint_sha256: str
    largest_difference: int = Field(description="over all pixels and channels, of 255")
    mean_difference: float = Field(description="over all pixels and channels, of 255")
    allowed: int = ALLOWED_LEVELS

    @property
    def same(self) -> bool:
        """Whether the images are one, up to rounding."""
        return self.largest_difference <= self.allowed


def remake_image(workspace: Workspace, image_id: str, generator: Generator | None = None) -> Remade:
    """Return how far an image made again is from the one that was kept. Nothing is written.

    Args:
        image_id: of an accepted image, or its beginning as far as it fits one image.
        generator: in place of the one under models/.

    Raises:
        NotFoundError: no accepted image, or several, have that id.
        CheckpointError: the checkpoint that made it is not the one under models/.
    """
    from pipelines.generators.interface import Condition

    row = _accepted(workspace, image_id)
    settings = json.loads(row.sampler)
    generator = generator or _load(workspace, row, settings)
    stratum = stratum_name(row.modality.value, row.fst, row.lesion.value)
    key = image_key(row.checkpoint_sha256, settings, stratum, row.seed_index)
    if generator.checkpoint_sha256 != row.checkpoint_sha256 or key != row.image_id:
        raise CheckpointError(
            f"{row.image_id}: made by {row.generator} {row.checkpoint_sha256[:12]}, models/{row.generator} holds "
            f"{generator.checkpoint_sha256[:12]}; check out the commit of that release and `dvc checkout` its models"
        )
    band = settings["request_deg"]
    ita_deg = requested_ita(key, (band[0], band[1]) if band else None)
    made = generator.sample([Condition(row.modality, row.fst, row.lesion, ita_deg)], [key])[0]
    difference = np.abs(made.astype(np.int16) - _kept(workspace, row.image_id).astype(np.int16))
    return Remade(
        image_id=row.image_id,
        stratum=stratum,
        generator=row.generator,
        checkpoint_sha256=row.checkpoint_sha256,
        largest_difference=int(difference.max()),
        mean_difference=float(difference.mean()),
    )


def _accepted(workspace: Workspace, image_id: str) -> AttemptRow:
    wanted = image_id.strip().lower().removesuffix(".png")
    rows = read_rows(workspace.ledger, AttemptRow) if workspace.ledger.is_dir() else []
    found = [row for row in rows if row.accepted and wanted and row.image_id.startswith(wanted)]
    if len(found) != 1:
        raise NotFoundError(
            f"{image_id}: {len(found) or 'no'} accepted images of this workspace's ledger have that id; give the id of "
            "one synthetic image, as in a release's index.parquet"
        )
    return found[0]


def _load(workspace: Workspace, row: AttemptRow, settings: dict[str, Any]) -> Generator:
    from pipelines.generators.registry import load_generator

    return load_generator(workspace.model(row.generator), SamplerParams.of(settings))


def _kept(workspace: Workspace, image_id: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    for row in read_rows(workspace.shards, SyntheticRow):
        if row.image_id == image_id:
            return decode_png(row.image.bytes)
    raise NotFoundError(f"{image_id}: accepted in the ledger, not in production/shards; run `equiderm produce` again")
