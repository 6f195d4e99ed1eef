"""Ingest of HAM10000's 224 px images against img2dataset and Hugging Face `datasets`, and the floor: decoding alone.

Every side takes the same JPEG files to 224 px with 2 workers; `does` in the result says what each does. Ours gets a copy
of the folder whose table names these files alone. Both rivals are measured twice: as they come, and told to write the other
format. As they come, `datasets` writes lossless PNG, as ours does, and img2dataset JPEG 95, lossy and cheaper. img2dataset
is timed from its first shard's start to its last one's end: its slow start is left out.

`ratio_to_the_faster_default` is the one to look at. `datasets` told to write JPEG may be out of reach of anything that
decodes with Pillow: `most_that_decoding_allows` is how many times its pace reading and decoding alone would make.

img2dataset is not in the lock file. To measure it: python -m venv E && E/bin/pip install img2dataset, then
EQUIDERM_IMG2DATASET=E/bin/python.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from schemas.params import Params, parse_params
from schemas.paths import Workspace

DEFAULTS = {"img2dataset": "img2dataset_jpeg", "datasets": "datasets_png"}
"""Which side is a rival as it comes. Each one's other side is told to write the other format."""

DECODING = "pillow_decode_only"
WORKERS = 2
RESOLUTION = 224
IMG2DATASET = "EQUIDERM_IMG2DATASET"
DOES = {
    "equiderm": "read, decode, square, sha256 of file and pixels, ITA, PNG, Parquet, fsync; start-up not counted",
    "datasets_png": "read, decode, resize, PNG, Arrow, Parquet",
    "datasets_jpeg": "read, decode, resize, JPEG 95, Arrow, Parquet",
    "img2dataset_png": "fetch from loopback, decode, resize, PNG level 1, sha256 of file, Parquet; start-up not counted",
    "img2dataset_jpeg": "fetch from loopback, decode, resize, JPEG 95, sha256 of file, Parquet; start-up not counted",
    DECODING: "read, decode",
}
_DOWNLOAD = """
import json, sys
from img2dataset import download
if __name__ == "__main__":
    download(**json.loads(sys.argv[1]))
"""


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return images/s of each side, ours over each rival's in the same round (median), and decoding's share of ours."""
    folder = (args.data / "ham10000").resolve()
    if not folder.is_dir():
        return {"skipped": f"{args.data / 'ham10000'}: no such folder; give --data"}
    files = sorted((folder / "images").glob("*.jpg"))
    with tempfile.TemporaryDirectory() as scratch:
        return _measure(_only_present(folder, files, Path(scratch)), files, args.repeats)


def _measure(folder: Path, files: list[Path], repeats: int) -> dict[str, Any]:
    sides: dict[str, Callable[[], float]] = {
        "equiderm": lambda: _equiderm(folder),
        "datasets_png": lambda: _seconds(lambda: _datasets(files, _as_png)),
        "datasets_jpeg": lambda: _seconds(lambda: _datasets(files, _as_jpeg)),
        DECODING: lambda: _seconds(lambda: _decode(files)),
    }
    if IMG2DATASET in os.environ:
        sides["img2dataset_png"] = lambda: _img2dataset(files, {"encode_format": "png", "encode_quality": 1})
        sides["img2dataset_jpeg"] = lambda: _img2dataset(files, {})
    runs: dict[str, list[float]] = {name: [] for name in sides}
    _equiderm(folder)  # imports, and the files into the page cache, for every side
    for _ in range(repeats):
        for name, side in sides.items():
            runs[name].append(len(files) / side())
    return {
        "images": len(files), "workers": WORKERS, "resolution_px": RESOLUTION, "does": {n: DOES[n] for n in sides},
        "default_of": {rival: side for rival, side in DEFAULTS.items() if side in sides},
        **{name: {"images_per_s": statistics.median(values), "runs": values} for name, values in runs.items()},
        **_ratios(runs),
        **({} if IMG2DATASET in os.environ else {"img2dataset": f"not measured: {IMG2DATASET} is not set"}),
    }  # fmt: skip


def _ratios(runs: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians over the rounds of one pace over another, both of the same round."""
    ours, decoding = runs["equiderm"], runs[DECODING]
    defaults = [side for side in DEFAULTS.values() if side in runs]
    faster = [max(round_) for round_ in zip(*(runs[side] for side in defaults), strict=True)]
    rivals = [side for side in runs if side not in ("equiderm", DECODING)]
    return {
        "ratio_of_ours_to": {side: _median_ratio(ours, runs[side]) for side in rivals},
        "ratio_to_the_faster_default": _median_ratio(ours, faster) if len(defaults) == len(DEFAULTS) else None,
        "most_that_decoding_allows": {side: _median_ratio(decoding, runs[side]) for side in rivals},
        "share_of_time_decoding": _median_ratio(ours, decoding),
    }


def _median_ratio(these: list[float], those: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def _only_present(folder: Path, files: list[Path], copy: Path) -> Path:
    """Return a copy of the folder whose table has the rows of `files` alone: the rivals are not asked for others."""
    (copy / "images").mkdir()
    for file in files:
        shutil.copy(file, copy / "images" / file.name)
    present = {file.stem for file in files}
    with (folder / "HAM10000_metadata.csv").open(newline="", encoding="utf-8") as handle:
        head, *rows = csv.reader(handle)
    with (copy / "HAM10000_metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([head, *(row for row in rows if row[head.index("image_id")] in present)])
    return copy


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _equiderm(folder: Path) -> float:
    """Ingest the folder with the shards in a crew of processes, as the flow does; their start is not counted."""
    from pipelines.ingest.crew import Crew
    from pipelines.ingest.plan import plan_shards
    from pipelines.ingest.settle import settle_catalog

    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(WORKERS) as pool:
        workspace, params = Workspace(Path(scratch)), _params(folder)
        crew = Crew(workspace, params)
        crew.start()
        start = time.perf_counter()
        list(pool.map(crew.ingest, plan_shards(workspace, params)))
        settle_catalog(workspace, params)
        seconds = time.perf_counter() - start
        crew.close()
    return seconds


def _params(folder: Path) -> Params:
    return parse_params(
        {
            "sources": {"use": {"ham10000": {"adapter": "ham10000", "path": str(folder)}}},
            "ingest": {"resolution": RESOLUTION, "workers": WORKERS},
        },
        "bench",
    )


def _datasets(files: list[Path], encoded: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch:
        table = datasets.Dataset.from_dict({"image": [str(f) for f in files]}).cast_column("image", datasets.Image())
        table = table.map(
            encoded,
            features=table.features,
            num_proc=WORKERS,
            cache_file_name=f"{scratch}/map.arrow",
            load_from_cache_file=False,
        )
        table.to_parquet(f"{scratch}/out.parquet")


def _resize(row: dict[str, Any]) -> Any:
    return row["image"].convert("RGB").resize((RESOLUTION, RESOLUTION), Image.Resampling.HAMMING)


def _as_png(row: dict[str, Any]) -> dict[str, Any]:
    return {"image": _resize(row)}


def _as_jpeg(row: dict[str, Any]) -> dict[str, Any]:
    buffer = BytesIO()
    _resize(row).save(buffer, format="JPEG", quality=95)
    return {"image": {"bytes": buffer.getvalue(), "path": None}}


def _decode(files: list[Path]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda f: Image.open(f).load(), files))


def _img2dataset(files: list[Path], encoding: dict[str, Any]) -> float:
    """Return the seconds between its first shard's start and its last one's end, by its own statistics."""
    with tempfile.TemporaryDirectory() as scratch, _served(files[0].parent) as address:
        listed = Path(scratch) / "urls.txt"
        listed.write_text("\n".join(f"{address}/{f.name}" for f in files), encoding="utf-8")
        script = Path(scratch) / "download.py"
        script.write_text(_DOWNLOAD, encoding="utf-8")
        settings = {
            "url_list": str(listed), "image_size": RESOLUTION, "output_folder": f"{scratch}/out", "thread_count": 16,
            "processes_count": WORKERS, "output_format": "parquet", "resize_mode": "center_crop",
            "number_sample_per_shard": -(-len(files) // (2 * WORKERS)), "retries": 2, **encoding,
        }  # fmt: skip
        command = [os.environ[IMG2DATASET], str(script), json.dumps(settings)]
        env = {**os.environ, "PYTHONPATH": "", "NO_ALBUMENTATIONS_UPDATE": "1"}
        subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=550)
        stats = [json.loads(p.read_text(encoding="utf-8")) for p in Path(scratch, "out").glob("*_stats.json")]
    got = sum(s["successes"] for s in stats)
    if got != len(files):
        raise SystemExit(f"img2dataset took {got} of {len(files)} images; its time would mean nothing; run it again")
    return float(max(s["end_time"] for s in stats) - min(s["start_time"] for s in stats))


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Yield the address of a server process of the folder on a free port of loopback."""
    code = (
        "import functools, http.server as h; "
        f"H = functools.partial(h.SimpleHTTPRequestHandler, directory={str(folder)!r}); "
        "h.SimpleHTTPRequestHandler.protocol_version = 'HTTP/1.1'; h.ThreadingHTTPServer.request_queue_size = 128; "
        "s = h.ThreadingHTTPServer(('127.0.0.1', 0), H); print(s.server_port, flush=True); s.serve_forever()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()
