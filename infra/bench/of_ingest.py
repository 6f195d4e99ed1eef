"""Ingest of HAM10000's images against Hugging Face `datasets` (decode, resize, write) and bare Pillow decoding."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

from schemas.params import Params, parse_params
from schemas.paths import Workspace

WORKERS = 2
RESOLUTION = 64


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return images/s of the three, and ours over datasets'."""
    folder = (args.data / "ham10000").resolve()
    if not folder.is_dir():
        return {"skipped": f"{args.data / 'ham10000'}: no such folder; give --data"}
    files = sorted((folder / "images").glob("*.jpg"))
    sides: dict[str, Callable[[], None]] = {
        "equiderm": lambda: _equiderm(folder),
        "datasets": lambda: _datasets(files),
        "pillow_decode_only": lambda: _decode(files),
    }
    runs: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            runs[name].append(len(files) / (time.perf_counter() - start))
    result = {name: {"images_per_s": statistics.median(values), "runs": values} for name, values in runs.items()}
    pairs = zip(runs["equiderm"], runs["datasets"], strict=True)
    floor = zip(runs["equiderm"], runs["pillow_decode_only"], strict=True)
    return {
        "images": len(files),
        "workers": WORKERS,
        **result,
        "ratio_to_datasets": statistics.median(a / b for a, b in pairs),
        "share_of_time_decoding": statistics.median(a / b for a, b in floor),
    }


def _equiderm(folder: Path) -> None:
    """Read, decode, normalise, hash, measure ITA, encode and write every image, and quarantine the rest."""
    from pipelines.ingest.plan import plan_shards
    from pipelines.ingest.settle import settle_catalog
    from pipelines.ingest.shard import ingest_shard

    with tempfile.TemporaryDirectory() as scratch:
        workspace, params = Workspace(Path(scratch)), _params(folder)
        shards = plan_shards(workspace, params)
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda shard: ingest_shard(workspace, params, shard), shards))
        settle_catalog(workspace, params)


def _params(folder: Path) -> Params:
    return parse_params(
        {
            "sources": {"use": {"ham10000": {"adapter": "ham10000", "path": str(folder)}}},
            "ingest": {"resolution": RESOLUTION, "workers": WORKERS},
        },
        "bench",
    )


def _datasets(files: list[Path]) -> None:
    """Decode, resize and write with Hugging Face `datasets`, 2 processes: no hash, no ITA."""
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch:
        table = datasets.Dataset.from_dict({"image": [str(f) for f in files]}).cast_column("image", datasets.Image())
        table = table.map(_resize, num_proc=WORKERS, cache_file_name=f"{scratch}/map.arrow", load_from_cache_file=False)
        table.to_parquet(f"{scratch}/out.parquet")


def _resize(row: dict[str, Any]) -> dict[str, Any]:
    return {"image": row["image"].convert("RGB").resize((RESOLUTION, RESOLUTION), Image.Resampling.HAMMING)}


def _decode(files: list[Path]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda f: Image.open(f).load(), files))
