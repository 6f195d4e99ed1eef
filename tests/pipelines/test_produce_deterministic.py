"""An image depends on checkpoint, settings, stratum and index alone: any batch, any number of workers, any order.

The same accepted images, and their pixels equal within 1 of 255, with the shipped diffusion base and with a trivial
generator that makes hundreds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from flow_workspace import write_flow_workspace
from numpy.typing import NDArray
from production_workspace import PatchworkGenerator, ThumbnailExtractor, precalibrate, write_workspace

from pipelines.embedding.extractor import Extractor
from pipelines.generators.interface import Generator
from pipelines.imaging.normalise import decode_png
from pipelines.produce.blocks import produce_block
from pipelines.produce.calibrate import calibrate_gates
from pipelines.produce.plan import plan_production
from pipelines.produce.schedule import Schedule
from pipelines.produce.settle import settle_production
from schemas.ledger import SyntheticRow
from schemas.params import GateParams, Params
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import Lesion

ALLOWED = 1
"""Largest difference of a pixel, of 255: kernels round differently in another batch."""


@dataclass(frozen=True)
class Case:
    """A calibrated workspace with nothing made, and who draws and looks; None: the trained one, the embedded one."""

    workspace: Workspace
    params: Params
    generator: Generator | None
    extractor: Extractor | None

    def images(self, folder: Path, *, block: int = 8, workers: int = 1, reverse: bool = False) -> Accepted:
        """Return what a production cut and ordered this way accepts, by stratum in order."""
        shutil.copytree(self.workspace.root, folder)
        workspace = Workspace(folder)
        params = self.params.model_copy(
            update={"produce": self.params.produce.model_copy(update={"block": block, "workers": workers})}
        )
        plan = plan_production(workspace, params, self.generator)
        schedule = Schedule(workspace, plan)
        while blocks := schedule.missing():
            with ThreadPoolExecutor(workers) as pool:
                list(
                    pool.map(
                        lambda one: produce_block(
                            workspace, params, plan, one, generator=self.generator, extractor=self.extractor
                        ),
                        blocks[::-1] if reverse else blocks,
                    )
                )
        assert settle_production(workspace, params, plan, schedule).shortfall == 0
        return {
            file.name: {row.image_id: decode_png(row.image.bytes) for row in read_rows(file, SyntheticRow)}
            for file in sorted(workspace.shards.iterdir())
        }


Accepted = dict[str, dict[str, NDArray[np.uint8]]]


def trivial(folder: Path) -> Case:
    quotas = {(5, Lesion.MELANOMA): 120, (6, Lesion.NEVUS): 80, (6, Lesion.MELANOMA): 60}
    gates = GateParams(lesion_min_probability=0.0, tone_tolerance_deg=8)
    workspace, params = write_workspace(folder, quotas, gates=gates)
    precalibrate(workspace, params)
    return Case(workspace, params, PatchworkGenerator(), ThumbnailExtractor())


def diffusion(folder: Path) -> Case:
    quotas = {(5, Lesion.MELANOMA): 4, (6, Lesion.NEVUS): 4}
    workspace, params = write_flow_workspace(folder, quotas, generator="diffusion")
    calibrate_gates(workspace, params)
    return Case(workspace, params, None, None)


@pytest.mark.parametrize("case", [trivial, diffusion])
def test_batch_workers_and_order_change_no_image(case: Callable[[Path], Case], tmp_path: Path) -> None:
    one = case(tmp_path / "case")
    expected = one.images(tmp_path / "expected", block=32)
    assert all(expected.values())
    others = {
        "batches of 1": one.images(tmp_path / "ones", block=1),
        "4 workers": one.images(tmp_path / "four", block=4, workers=4),
        "last block first": one.images(tmp_path / "reverse", block=4, reverse=True),
    }
    for how, found in others.items():
        assert {name: list(images) for name, images in found.items()} == {
            name: list(images) for name, images in expected.items()
        }, how
        for name, images in expected.items():
            for image_id, pixels in images.items():
                apart = np.abs(pixels.astype(int) - found[name][image_id]).max()
                assert apart <= ALLOWED, f"{how}: {image_id}"
