"""Splits and strata over 10 million synthetic catalog rows in a process of its own: seconds and peak memory."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROWS = int(os.environ.get("EQUIDERM_BENCH_ROWS", "10000000"))
LIMIT_S, LIMIT_MIB = 60, 2048
RUN = """
import json, resource, sys, time
from pathlib import Path
from pipelines.stratify.strata import stratify
from schemas.params import parse_params
from schemas.paths import Workspace
sources = {name: {"adapter": "phantom"} for name in ("one", "two", "three", "four")}
params = parse_params({"sources": {"use": sources}}, "bench")
start, cpu = time.perf_counter(), time.process_time()
result = stratify(Workspace(Path(sys.argv[1])), params)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time() - cpu, "peak_mib": peak, **result.totals}))
"""

MADE = """
COPY (
    WITH id AS (
        SELECT i, i // 4 AS patient, i // 2 AS lesion, (hash(i) // 4)::BIGINT AS h FROM range({start}, {stop}) AS t(i)
    )
    SELECT
        substr(sha256('i' || i), 1, 24) AS image_id,
        ['one', 'two', 'three', 'four'][1 + {source}] AS source,
        'row-' || i AS source_row_id,
        sha256('f' || i) AS source_sha256,
        -- A third of the rows name no patient, as in many public sets; one lesion in 500 is shared by two patients.
        CASE WHEN patient % 3 = 0 THEN NULL ELSE substr(sha256('p' || patient), 1, 20) END AS patient_id,
        substr(sha256('l' || CASE WHEN lesion % 500 = 0 THEN lesion + 2 ELSE lesion END), 1, 20) AS lesion_id,
        CASE WHEN h % 2 = 0 THEN 'clinical' ELSE 'dermoscopic' END AS modality,
        ['nevus', 'melanoma', 'basal_cell_carcinoma', 'vascular_lesion'][1 + (h // 2 % 4)] AS lesion,
        ['nv', 'mel', 'bcc', 'vasc'][1 + (h // 2 % 4)] AS lesion_raw,
        CASE WHEN h % 3 = 0 THEN NULL ELSE (1 + h // 8 % 6)::TINYINT END AS fst,
        CASE WHEN h % 3 = 0 THEN NULL ELSE 'expert' END AS fst_source,
        (h // 64 % 1400 / 10 - 60)::FLOAT AS ita_deg,
        900::INTEGER AS ita_pixels, 'none' AS colour_constancy, false AS mask, 600::INTEGER AS width, 450::INTEGER AS height,
        'CC-BY-4.0' AS licence, ['commercial', 'share', 'derive'] AS licence_allows,
        ['back', 'face', 'arm', NULL][1 + (h // 4096 % 4)] AS site,
        ['30-39', '40-49', '50-59', NULL][1 + (h // 16384 % 4)] AS age_band,
        ['female', 'male', NULL][1 + (h // 65536 % 3)] AS sex,
        NULL::VARCHAR AS split, NULL::VARCHAR AS dup_cluster,
        NULL::VARCHAR AS malignancy, NULL::VARCHAR AS lesion_group, NULL::FLOAT AS label_weight,
        NULL::TINYINT AS fst_second, NULL::VARCHAR AS fst_second_source, NULL::VARCHAR AS tone_group,
        NULL::TINYINT AS monk, NULL::TINYINT AS monk_second
    FROM id
) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""


def measure(args: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001
    """Return seconds, peak MiB and whether both are within the limits; making the rows is not timed."""
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch), ROWS)
        done = subprocess.run([sys.executable, "-c", RUN, scratch], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
    within = found["seconds"] < LIMIT_S and found["peak_mib"] < LIMIT_MIB
    return {"rows": ROWS, **found, "limit_s": LIMIT_S, "limit_mib": LIMIT_MIB, "within_limits": within}


def make(root: Path, rows: int) -> None:
    """Write a catalog of `rows` rows in 16 files under their declared schema; for one row in 200 a duplicate and a copy."""
    import duckdb
    import pyarrow.parquet as pq

    from schemas.catalog import CatalogRow, CopyRow
    from schemas.duplicates import ClusterRow
    from schemas.paths import Workspace
    from schemas.table import arrow_schema

    space = Workspace(root)
    space.catalog.mkdir(parents=True)
    space.duplicates.mkdir(parents=True)
    space.copies.mkdir(parents=True)
    for part in range(16):
        start, stop = part * rows // 16, (part + 1) * rows // 16
        raw = root / "raw.parquet"
        duckdb.sql(MADE.format(start=start, stop=stop, source=part // 4, path=raw))
        with pq.ParquetWriter(space.catalog / f"part-{part:05d}.parquet", arrow_schema(CatalogRow)) as writer:
            for batch in pq.ParquetFile(raw).iter_batches(100_000):
                writer.write_batch(batch.cast(arrow_schema(CatalogRow)))
        raw.unlink()
    half = rows // 2
    pairs = duckdb.sql(
        f"SELECT substr(sha256('i' || i), 1, 24) AS dup_cluster, substr(sha256('i' || j), 1, 24) AS image_id, "
        f"'one' AS source, 'row-' || j AS source_row_id, j = i AS kept "
        f"FROM (SELECT i, unnest([i, i + {half}]) AS j FROM range(0, {half}, 200) AS t(i))"
    ).to_arrow_table()
    pq.write_table(pairs.cast(arrow_schema(ClusterRow)), space.clusters)
    copies = duckdb.sql(
        f"SELECT substr(sha256('i' || i), 1, 24) AS image_id, 'four' AS source, 'copy-' || i AS source_row_id, "
        f"substr(sha256('p' || (i + 10) // 4), 1, 20) AS patient_id, NULL::VARCHAR AS lesion_id, 'nevus' AS lesion, "
        f"['commercial', 'share', 'derive'] AS licence_allows FROM range(0, {rows}, 200) AS t(i)"
    ).to_arrow_table()
    pq.write_table(copies.cast(arrow_schema(CopyRow)), space.copies / "four-00000.parquet")
