"""Making blocks: sample, judge, write one file. A block that is there is never made again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from pipelines.embedding.extractor import Extractor, default_extractor
from pipelines.produce.attempts import BlockPlan, BlockRow, read_block, sealed, write_block
from pipelines.produce.calibration import load_reference
from pipelines.produce.gates import JUDGES
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict
from pipelines.produce.identity import requested_ita
from pipelines.produce.pictures import small_picture
from pipelines.produce.plan import ProductionPlan, trained_generator
from pipelines.produce.rates import record_rate
from pipelines.produce.schedule import Schedule
from schemas.errors import CheckFailed
from schemas.params import Params
from schemas.paths import Workspace
from schemas.table import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.generators.interface import Generator

__all__ = ["BlockCount", "BlockPlan", "next_blocks", "produce_block"]


class BlockCount(BaseModel):
    """What one block came to."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    stratum: str
    attempts: int
    passed: int  # every gate but `duplicate`, which needs the whole release
    reused: bool  # its file was there already


def next_blocks(workspace: Workspace, plan: ProductionPlan) -> list[BlockPlan]:
    """Return the blocks to make now; [] when every stratum is full or out of attempts.

    Call it again once they are made; a `Schedule` that is asked again reads no block twice. Images lost to the
    duplicate gate count as missing here too.
    """
    return Schedule(workspace, plan).missing()


def produce_block(
    workspace: Workspace,
    params: Params,
    plan: ProductionPlan,
    block: BlockPlan,
    *,
    generator: Generator | None = None,
    extractor: Extractor | None = None,
) -> BlockCount:
    """Return the block's counts after its file is on disk, whole. Safe to call from several threads.

    Args:
        generator: used in place of the trained one.
        extractor: used in place of the embedded one.

    Raises:
        CheckFailed: the generator is not the planned one or returned something that is not images, or the gates'
            calibration is damaged.
    """
    rows = read_block(workspace, plan, block)
    reused = rows is not None
    if rows is None:
        begun = time.monotonic()
        pixels = _sample(plan, block, generator or trained_generator(workspace, params))
        rows = _judge(workspace, plan, block, pixels, extractor or default_extractor())
        file = write_block(workspace, block, rows)
        record_rate(workspace, plan.generator, len(rows), time.monotonic() - begun, file)
    passed = sum(row.image is not None for row in rows)
    return BlockCount(key=block.key, stratum=block.stratum.name, attempts=len(rows), passed=passed, reused=reused)


def _sample(plan: ProductionPlan, block: BlockPlan, generator: Generator) -> NDArray[np.uint8]:
    """Return the block's images, uint8 (n, r, r, 3)."""
    from pipelines.generators.interface import Condition

    if generator.checkpoint_sha256 != plan.checkpoint_sha256:
        raise CheckFailed(
            f"checkpoint {generator.checkpoint_sha256[:12]} was planned as {plan.checkpoint_sha256[:12]}; the "
            "weights changed while producing; run `equiderm produce` again"
        )
    stratum = block.stratum
    keys = plan.image_ids(stratum, block.start, block.stop)
    conditions = [
        Condition(stratum.modality, stratum.fst, stratum.lesion, requested_ita(key, stratum.request_deg))
        for key in keys
    ]
    pixels = generator.sample(conditions, keys)
    wanted = (len(keys), plan.resolution, plan.resolution, 3)
    if pixels.dtype != "uint8" or pixels.shape != wanted:
        raise CheckFailed(f"generator {plan.generator}: returned {pixels.dtype} {pixels.shape}; needs uint8 {wanted}")
    return pixels


def _judge(
    workspace: Workspace, plan: ProductionPlan, block: BlockPlan, pixels: NDArray[np.uint8], extractor: Extractor
) -> list[BlockRow]:
    """Return a row an image. Every gate judges every image, so that each score in the ledger was measured."""
    stratum = block.stratum
    candidates = Candidates(pixels, extractor(pixels), stratum.fst, stratum.lesion, stratum.band_deg)
    limits = Limits(
        plan.gates,
        plan.calibration.of(stratum.modality),
        load_reference(workspace, stratum.modality, plan.calibration.digest),
    )
    verdicts = {name: gate(candidates, limits) for name, gate in JUDGES.items()}
    keys = plan.image_ids(stratum, block.start, block.stop)
    return [
        _row(key, block.start + i, candidates, i, {name: found[i] for name, found in verdicts.items()})
        for i, key in enumerate(keys)
    ]


def _row(key: str, seed_index: int, candidates: Candidates, i: int, verdicts: dict[str, Verdict]) -> BlockRow:
    refused = next((found for found in verdicts.values() if not found.keep), None)
    data = candidates.files[i] if refused is None else None
    gates = {f"{name}_passed": found.keep for name, found in verdicts.items()}
    scores = {f"{name}_score": found.score for name, found in verdicts.items()}
    row = BlockRow.model_validate(
        {
            "image_id": key,
            "seed_index": seed_index,
            "ita_deg": candidates.ita_deg[i],
            **gates,
            **scores,
            "message": refused.reason if refused else None,
            "thumb": candidates.thumbs[i].tobytes(),
            "image": Image(bytes=data, path=f"{key}.png") if data is not None else None,
            "picture": small_picture(candidates.pixels[i], key) if refused else None,
            "seal": "",
        }
    )
    return sealed(row)
