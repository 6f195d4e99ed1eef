"""A workspace that the produce stage's own flow runs in: phantoms of 64 px, the shipped GAN base as the checkpoint.

Real processes can be started in it, and killed: nothing is put in the place of the machinery.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from production_workspace import catalog_row, phantoms, split_of, write_strata

from pipelines.generators.registry import BASE
from pipelines.imaging.normalise import encode_png
from schemas.catalog import CatalogRow, PixelRow
from schemas.params import Params, load_params
from schemas.paths import Workspace
from schemas.table import Image, write_rows
from schemas.words import Lesion

ROOT = Path(__file__).resolve().parents[2]
RESOLUTION = 64


def write_flow_workspace(
    folder: Path, quotas: Mapping[tuple[int, Lesion], int], *, generator: str = "gan", **produce: Any
) -> tuple[Workspace, Params]:
    """Return a workspace as train leaves it, with its params.yaml; every gate but the copy gate is wide open."""
    workspace = Workspace(folder)
    rows = [catalog_row(p, split_of(p.patient)) for p in phantoms()]
    write_rows(rows, CatalogRow, workspace.splits)
    pixels = [
        PixelRow(
            image_id=row.image_id,
            image=Image(bytes=encode_png(p.pixels.repeat(2, 0).repeat(2, 1)), path=f"{row.image_id}.png"),
            mask=None,
        )
        for row, p in zip(rows, phantoms(), strict=True)
    ]
    write_rows(pixels, PixelRow, workspace.images / "00000.parquet")
    write_strata(workspace, rows, quotas)
    shutil.copytree(BASE / generator, workspace.model(generator))
    gates = {"lesion_min_probability": 0, "tone_tolerance_deg": 90, "copy_quantile": 0, "min_std": 0}
    params = {
        "sources": {"use": {"phantom": {"adapter": "phantom"}}},
        "ingest": {"resolution": RESOLUTION},
        "produce": {"generator": generator, "block": 4, "gates": gates, "max_attempts_per_image": 20, **produce},
    }
    workspace.params.write_text(yaml.safe_dump(params), encoding="utf-8")
    shutil.copy(ROOT / "dvc.yaml", folder / "dvc.yaml")
    return workspace, load_params(workspace.params)


def stage_environment(**more: str) -> dict[str, str]:
    """Return the environment of a stage's process: this checkout's code, one torch thread."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "EQUIDERM_"))}
    tests = str(ROOT / "tests/pipelines")
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), tests]), "OMP_NUM_THREADS": "1", **more}


STAGE = [sys.executable, "-m", "flows.produce"]


def outputs(workspace: Workspace) -> dict[str, bytes]:
    """Return the bytes of everything a production hands on."""
    files = [*workspace.ledger.iterdir(), *workspace.shards.iterdir(), workspace.production / "result.json"]
    return {str(f.relative_to(workspace.root)): f.read_bytes() for f in files}
