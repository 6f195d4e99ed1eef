"""A PAD-UFES-20 of a few rows with real files, for tests of sources and ingest."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.ingest.plan import plan_shards
from pipelines.ingest.settle import IngestResult, settle_catalog
from pipelines.ingest.shard import ingest_shard
from schemas.params import Params, parse_params
from schemas.paths import Workspace

COLUMNS = ("patient_id", "lesion_id", "age", "gender", "fitspatrick", "region", "diagnostic", "img_id")


def photo(seed: int, size: tuple[int, int] = (40, 40)) -> np.ndarray:
    """Return noise that no other seed gives, uint8 (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def png(pixels: np.ndarray, **options: Any) -> bytes:
    """Return the pixels as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def row(number: int, **changes: str) -> dict[str, str]:
    """Return a good row whose image is `P_<number>.png`."""
    good = {
        "patient_id": f"P{number}", "lesion_id": str(number), "age": "47", "gender": "FEMALE", "fitspatrick": "3.0",
        "region": "LOWER LEG", "diagnostic": "NEV", "img_id": f"P_{number}.png",
    }  # fmt: skip
    return good | changes


def write_pad(
    root: Path, rows: Sequence[Mapping[str, str]], images: Mapping[str, bytes], columns: Sequence[str] = COLUMNS
) -> Path:
    """Write metadata.csv and images/ under root/pad and return that folder."""
    folder = root / "pad"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    for name, data in images.items():
        (folder / "images" / name).write_bytes(data)
    return folder


def pad_params(**ingest: Any) -> Params:
    """Return parameters for the source `pad` in the workspace's folder pad/."""
    settings = {"resolution": 16, "shard_rows": 3, **ingest}
    return parse_params(
        {"sources": {"use": {"pad": {"adapter": "pad_ufes_20", "path": "pad"}}}, "ingest": settings}, "t"
    )


def run_ingest(workspace: Workspace, params: Params) -> IngestResult:
    """Return the counts of a whole ingest, one shard after the other."""
    for plan in plan_shards(workspace, params):
        ingest_shard(workspace, params, plan)
    return settle_catalog(workspace, params)


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def with_copies(folder: Path) -> Workspace:
    """Eight rows: five good, two with the first one's pixels (one of them labelled otherwise), one without a file."""
    images = {f"P_{n}.png": png(photo(n)) for n in range(1, 6)}
    images |= {"P_6.png": png(photo(1), compress_level=0), "P_7.png": png(photo(1)), "stray.png": png(photo(9))}
    rows = [row(n) for n in range(1, 9)]
    rows[5]["diagnostic"] = "MEL"
    write_pad(folder, rows, images)
    return Workspace(folder)
