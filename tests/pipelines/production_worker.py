"""A worker process of a production, for tests that kill it: it makes its share of every round until nothing is missing.

Workers know of each other only through the block files, as on machines that share a folder.
"""

from __future__ import annotations

import time
from pathlib import Path

from production_workspace import PatchworkGenerator, ThumbnailExtractor

from pipelines.generators.interface import Condition
from pipelines.produce.blocks import produce_block
from pipelines.produce.plan import plan_production
from pipelines.produce.schedule import Schedule
from pipelines.produce.settle import settle_production
from schemas.params import Params
from schemas.paths import Workspace
from schemas.words import Lesion, Modality

# Drawn once, before processes are forked off: a worker that is killed after a moment must have got to work by then.
for _fst in (5, 6):
    for _lesion in (Lesion.MELANOMA, Lesion.NEVUS):
        PatchworkGenerator().sample([Condition(Modality.PHANTOM, _fst, _lesion, None)], ["0"])


def work(root: Path, params: Params, number: int, of: int) -> None:
    """Make every `of`-th missing block from the `number`-th on; worker 0 settles."""
    workspace, generator, extractor = Workspace(root), PatchworkGenerator(), ThumbnailExtractor()
    plan = plan_production(workspace, params, generator)
    schedule = Schedule(workspace, plan)
    while missing := schedule.missing():
        mine = [block for block in missing if int(block.key, 16) % of == number]
        for block in mine:
            produce_block(workspace, params, plan, block, generator=generator, extractor=extractor)
        if not mine:
            time.sleep(0.01)
    if number == 0:
        settle_production(workspace, params, plan, schedule)
