"""The counts of a release taken again from its tables, and its pictures against its index."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipelines.imaging.normalise import decode_png
from pipelines.release.shards import image_schema
from schemas.errors import CheckFailed
from schemas.ledger import AttemptRow
from schemas.release import BalanceRow, Finding, IndexRow, QuarantineCountRow, ReleaseFacts
from schemas.table import Row, read_table
from schemas.words import stratum_name

TABLES: Final[dict[str, type[Row]]] = {
    "index.parquet": IndexRow,
    "gates.parquet": AttemptRow,
    "strata.parquet": BalanceRow,
    "quarantine.parquet": QuarantineCountRow,
}
_LABELS: Final = ("kind", "modality", "fst", "lesion", "split")


@dataclass
class Recount:
    """Findings, and how many images stand behind their absence."""

    findings: list[Finding] = field(default_factory=list)
    images: int = 0
    decoded: int = 0

    def add(self, code: str, file: str, message: str) -> None:
        self.findings.append(Finding(code=code, file=file, message=message))


def recount(folder: Path, damaged: frozenset[str], decode_every: int) -> Recount:
    """Return what does not add up in a release. Files named in `damaged` are not read, nor what depends on them."""
    result = Recount()
    tables = {name: _read(result, folder, name, row) for name, row in TABLES.items() if name not in damaged}
    facts = None if "release.json" in damaged else _facts(result, folder)
    index = tables.get("index.parquet")
    if index is None:
        return result
    _ids(result, index, tables.get("gates.parquet"))
    _strata(result, index, tables.get("strata.parquet"))
    if facts is not None:
        _counts(result, facts, index, tables)
    for shard in sorted({s for s in pc.unique(index["shard"]).to_pylist() if s} | _shards(folder)):
        if shard not in damaged:
            _shard(result, folder, shard, index.filter(pc.equal(index["shard"], shard)), decode_every)
    return result


def _shards(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob("data/*.parquet")}


def _read(result: Recount, folder: Path, name: str, row: type[Row]) -> pa.Table | None:
    try:
        return read_table(folder / name, row)
    except (OSError, pa.ArrowException) as error:
        result.add("unreadable", name, f"not readable as Parquet ({str(error).splitlines()[0]}); fetch it again")
    except CheckFailed:
        result.add(
            "unreadable", name, f"its columns are not those of {row.__name__}; it is another version's or was changed"
        )
    return None


def _facts(result: Recount, folder: Path) -> ReleaseFacts | None:
    try:
        return ReleaseFacts.model_validate_json((folder / "release.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        result.add("unreadable", "release.json", f"{str(error).splitlines()[0]}; fetch it again")
        return None


def _ids(result: Recount, index: pa.Table, gates: pa.Table | None) -> None:
    ids = Counter(index["image_id"].to_pylist())
    for image_id in sorted(i for i, n in ids.items() if n > 1):
        result.add("count", "index.parquet", f"image {image_id}: listed {ids[image_id]} times; an id names one image")
    synthetic = index.filter(pc.equal(index["kind"], "synthetic"))
    if set(synthetic["split"].to_pylist()) - {"train"}:
        result.add("count", "index.parquet", "a synthetic image is outside `train`; they are for training alone")
    if gates is None:
        return
    listed, accepted = (
        set(synthetic["image_id"].to_pylist()),
        set(gates.filter(gates["accepted"])["image_id"].to_pylist()),
    )
    for ids_found, said in ((listed - accepted, "in the index, not accepted in gates.parquet"),
                            (accepted - listed, "accepted in gates.parquet, not in the index")):  # fmt: skip
        if ids_found:
            result.add(
                "count", "index.parquet", f"{len(ids_found)} synthetic images {said}, the first is {min(ids_found)}"
            )


def _strata(result: Recount, index: pa.Table, strata: pa.Table | None) -> None:
    if strata is None:
        return
    columns = [index[name].to_pylist() for name in ("modality", "fst", "lesion", "kind", "split")]
    found = Counter(zip(*columns, strict=True))
    for row in strata.to_pylist():
        cell = (row["modality"], row["fst"], row["lesion"])
        for kind, column in (("real", "n_real"), ("synthetic", "n_synthetic")):
            counted = found[(*cell, kind, "train")]
            if counted != row[column]:
                message = f"stratum {stratum_name(*cell)}: {column} is {row[column]}, the index holds {counted}"
                result.add("count", "strata.parquet", message)
        if row["n_synthetic"] > row["quota"]:
            message = (
                f"stratum {stratum_name(*cell)}: {row['n_synthetic']} synthetic images, the quota is {row['quota']}"
            )
            result.add("count", "strata.parquet", message)


def _counts(result: Recount, facts: ReleaseFacts, index: pa.Table, tables: dict[str, pa.Table | None]) -> None:
    found: dict[str, int] = {"images": index.num_rows, "withheld": index["shard"].null_count}
    kinds, splits = index["kind"].to_pylist(), index["split"].to_pylist()
    found |= Counter(kinds) | Counter(f"{k}_{s}" for k, s in zip(kinds, splits, strict=True))
    gates, strata, quarantine = (tables.get(n) for n in ("gates.parquet", "strata.parquet", "quarantine.parquet"))
    if gates is not None:
        found["attempts"] = gates.num_rows
    if quarantine is not None:
        found["quarantined"] = pc.sum(quarantine["rows"]).as_py() or 0
    if strata is not None:
        found["strata"] = strata.num_rows
        found |= {name: pc.sum(strata[name]).as_py() or 0 for name in ("quota", "shortfall", "missing")}
    always = {"real", "synthetic", "real_train", "real_validation", "real_test", "synthetic_train"}
    for name in sorted(set(found) | (always & set(facts.counts))):
        said, counted = facts.counts.get(name), found.get(name, 0)
        if said != counted:
            result.add("count", "release.json", f"counts.{name} is {said}, the tables hold {counted}")


def _shard(result: Recount, folder: Path, name: str, listed: pa.Table, decode_every: int) -> None:
    """Compare one shard with the index rows that name it."""
    expected = {row["image_id"]: row for row in listed.to_pylist()}
    wrong: dict[str, list[str]] = {}
    try:
        for row in _rows(folder / name):
            image_id, picture = row["image_id"], row["image"]["bytes"]
            said = expected.pop(image_id, None)
            if said is None:
                wrong.setdefault("not listed in the index for this shard", []).append(image_id)
                continue
            if any(said[label] != row[label] for label in _LABELS):
                wrong.setdefault("labelled otherwise than in the index", []).append(image_id)
            if hashlib.sha256(picture).hexdigest() != said["sha256"]:
                wrong.setdefault("of other bytes than the sha256 in the index", []).append(image_id)
            result.images += 1
            if result.images % decode_every == 0:
                result.decoded += 1
                if not _decodes(picture):
                    wrong.setdefault("not decodable to square RGB pixels", []).append(image_id)
    except FileNotFoundError:
        result.add("missing", name, f"the index places {listed.num_rows} images in it, it is not there; fetch it again")
        return
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        result.add(
            "unreadable", name, f"not readable as a shard ({(str(error).splitlines() or ['?'])[0]}); fetch it again"
        )
        return
    if expected:
        wrong["listed in the index for this shard, not in it"] = sorted(expected)
    for said_of, ids in wrong.items():
        result.add("pixels", name, f"{len(ids)} image{'s' if len(ids) > 1 else ''} {said_of}, the first is {ids[0]}")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        # with the metadata: without it `datasets` would not decode the pictures
        if not file.schema_arrow.equals(image_schema(), check_metadata=True):
            raise TypeError(f"columns {file.schema_arrow.names}")
        for batch in file.iter_batches(batch_size=256):
            yield from batch.to_pylist()


def _decodes(picture: bytes) -> bool:
    try:
        pixels = decode_png(picture)
    except (OSError, ValueError, SyntaxError):
        return False
    return pixels.ndim == 3 and pixels.shape[0] == pixels.shape[1] and pixels.shape[2] == 3
