"""Making blocks: sample, judge, write one file. A block that is there is never made again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from pipelines.embedding.extractor import Extractor, default_extractor
from pipelines.produce.attempts import BlockPlan, BlockRow, read_block, sealed, write_block
from pipelines.produce.calibration import load_reference
from pipelines.produce.gates import JUDGES
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict
from pipelines.produce.identity import requested_ita
from pipelines.produce.models import trained_generator
from pipelines.produce.pictures import small_picture
from pipelines.produce.plan import ProductionPlan
from pipelines.produce.rates import timed, timed_block
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
    rejected: dict[str, int] = {}  # by the first gate that refused
    seconds: float = 0.0  # that making it took


def next_blocks(workspace: Workspace, plan: ProductionPlan) -> list[BlockPlan]:
    """Return the blocks to make now; [] when every stratum is full or out of attempts.

    Call it again once they are made; a `Schedule` that is asked again reads no block twice. Images lost to the
    duplicate gate count as missing here too.
    """
    return Schedule(workspace, plan).missing()


def timed_round(workspace: Workspace, params: Params, make: Callable[[], Iterable[BlockCount]]) -> list[BlockCount]:
    """Return the counts of the blocks that `make` makes, after writing down what they took together."""
    with timed(workspace, "round", workers=params.produce.workers) as measured:
        counts = list(make())
        made = [count for count in counts if not count.reused]
        measured.blocks, measured.attempts = len(made), sum(count.attempts for count in made)
        measured.busy = sum(count.seconds for count in made)
    return counts


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
    reused, begun = rows is not None, time.monotonic()
    if rows is None:
        name = block.stratum.generator
        generator = generator or trained_generator(workspace, params, name)
        device = str(getattr(generator, "device", "cpu"))
        with timed_block(workspace, name, device, params.produce.workers) as measured:
            pixels = _sample(plan, block, generator)
            rows = _judge(workspace, plan, block, pixels, extractor or default_extractor())
            measured.attempts, measured.bytes = len(rows), write_block(workspace, block, rows).stat().st_size
    failed = Counter(row.first_failed() for row in rows)
    return BlockCount(
        key=block.key,
        stratum=block.stratum.name,
        attempts=len(rows),
        passed=failed.pop(None, 0),
        reused=reused,
        rejected={gate: failed[gate] for gate in JUDGES if failed[gate]},
        seconds=0.0 if reused else time.monotonic() - begun,
    )


def _sample(plan: ProductionPlan, block: BlockPlan, generator: Generator) -> NDArray[np.uint8]:
    """Return the block's images, uint8 (n, r, r, 3)."""
    from pipelines.generators.interface import Condition

    planned = plan.model_of(block.stratum).checkpoint_sha256
    if generator.checkpoint_sha256 != planned:
        raise CheckFailed(
            f"checkpoint {generator.checkpoint_sha256[:12]} was planned as {planned[:12]}; the "
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
        raise CheckFailed(
            f"generator {stratum.generator}: returned {pixels.dtype} {pixels.shape}; needs uint8 {wanted}"
        )
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
