"""What is known of one image: of a synthetic one its stratum, seed, model and gates; of a real one its source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.release.lineage import learned_from
from pipelines.release.origin import GateScore, RealOrigin, SyntheticOrigin, Trace, TrainingSource
from schemas.errors import NotFoundError
from schemas.ledger import GATES
from schemas.paths import Workspace
from schemas.words import Kind, stratum_name


def trace_image(workspace: Workspace, image_id: str) -> Trace:
    """Return what is known of an image: from the releases, and from the catalog and ledger if they are here.

    `image_id` may be cut short as long as it fits one image, and may end in `.png` as the file names in shards do.

    Raises:
        NotFoundError: it fits no image, or several.
    """
    releases = [folder for folder in _releases(workspace) if (folder / "index.parquet").is_file()]
    full = _resolve(workspace, releases, image_id.strip().lower().removesuffix(".png"))
    listed = [(folder, row) for folder in releases for row in _find(folder / "index.parquet", full)]
    names = [_name(folder) for folder, _ in listed]
    catalog = next(iter(_find(workspace.splits, full)), None)
    if catalog or (listed and listed[0][1]["kind"] == Kind.REAL):
        return _real(full, names, catalog, listed[0][1] if listed else None)
    places = [(workspace.ledger, None), *((folder / "gates.parquet", folder) for folder in releases)]
    attempt = next(row for place, _ in places for row in _find(place, full))
    holder = listed[0][0] if listed else next((f for p, f in places if f and _find(p, full)), None)
    return _synthetic(workspace, names, attempt, listed[0][1] if listed else None, holder)


def _releases(workspace: Workspace) -> list[Path]:
    if not workspace.releases.is_dir():
        return []
    return sorted(p for p in workspace.releases.iterdir() if p.is_dir() and not p.name.startswith("."))


def _tables(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from sorted(p for p in place.glob("*.parquet") if not p.name.startswith("."))
    elif place.is_file():
        yield place


def _find(place: Path, image_id: str) -> list[dict[str, Any]]:
    """Return the rows of one image in a Parquet file or folder."""
    return [
        row
        for table in _tables(place)
        for row in pq.read_table(table, filters=[("image_id", "==", image_id)]).to_pylist()
    ]


def _resolve(workspace: Workspace, releases: list[Path], start: str) -> str:
    """Return the one image id that begins with `start`."""
    places = [workspace.splits, workspace.ledger]
    places += [folder / name for folder in releases for name in ("index.parquet", "gates.parquet")]
    found: set[str] = set()
    for table in (t for place in places for t in _tables(place)):
        ids: pa.ChunkedArray = pq.read_table(table, columns=["image_id"])["image_id"]
        found |= set(ids.filter(pc.starts_with(ids, start)).to_pylist()) if start else set()
    if len(found) == 1:
        return found.pop()
    here = ", ".join(folder.name for folder in releases) or "none"
    if found:
        some = ", ".join(sorted(found)[:3])
        raise NotFoundError(f"image {start}: fits {len(found)} images ({some}, ...); one is needed; give more digits")
    raise NotFoundError(
        f"image {start or '(nothing)'}: in no release here ({here}), nor in the catalog or ledger; an image_id of "
        "index.parquet or its first digits are needed; check it, or pull the release that holds it"
    )


def _name(folder: Path) -> str:
    try:
        version = json.loads((folder / "release.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{folder.name} (release.json unreadable)"
    return f"{folder.name} {version}"


def _real(full: str, names: list[str], catalog: dict[str, Any] | None, listed: dict[str, Any] | None) -> Trace:
    row = {**(listed or {}), **(catalog or {})}
    keys = ("source_row_id", "source_sha256", "patient_id", "lesion_id", "fst_source")
    return Trace(
        image_id=full, kind=Kind.REAL, releases=names, stratum=stratum_name(row["modality"], row["fst"], row["lesion"]),
        split=row["split"], ita_deg=row["ita_deg"], licence=row["licence"], synthetic=None,
        real=RealOrigin(source=row["source"], in_catalog=catalog is not None, **{key: row.get(key) for key in keys}),
    )  # fmt: skip


def _synthetic(
    workspace: Workspace, names: list[str], row: dict[str, Any], listed: dict[str, Any] | None, holder: Path | None
) -> Trace:
    training, start = _training(workspace, row["checkpoint_sha256"], holder)
    judged = [g for g in GATES if f"{g}_passed" in row]  # an older release has fewer
    gates = [GateScore(gate=g, passed=row[f"{g}_passed"], score=row[f"{g}_score"]) for g in judged]
    keys = ("generator", "checkpoint_sha256", "seed_index", "accepted", "reason")
    origin = SyntheticOrigin(
        **{key: row[key] for key in keys},
        start=start,
        sampler=json.loads(row["sampler"]),
        gates=gates,
        training=training,
    )
    return Trace(
        image_id=row["image_id"], kind=Kind.SYNTHETIC, releases=names, ita_deg=row["ita_deg"],
        stratum=stratum_name(row["modality"], row["fst"], row["lesion"]), split=listed["split"] if listed else None,
        licence=listed["licence"] if listed else None, synthetic=origin, real=None,
    )  # fmt: skip


def _training(workspace: Workspace, checkpoint: str, holder: Path | None) -> tuple[list[TrainingSource], str | None]:
    """Return a checkpoint's training sources and start: from the release's lineage, else the catalog as it is now."""
    if holder is not None and (holder / "lineage.json").is_file():
        document = json.loads((holder / "lineage.json").read_text(encoding="utf-8"))
        entity = document.get("entity", {}).get(f"equiderm:checkpoint/{checkpoint}", {})
        return [TrainingSource(**s) for s in learned_from(document, checkpoint)], entity.get("equiderm:start")
    counts: dict[tuple[str, str], int] = {}
    for table in _tables(workspace.splits):
        rows = pq.read_table(table, columns=["source", "licence"], filters=[("split", "==", "train")])
        for pair in zip(rows["source"].to_pylist(), rows["licence"].to_pylist(), strict=True):
            counts[pair] = counts.get(pair, 0) + 1
    return [TrainingSource(source=s, images=n, licence=licence) for (s, licence), n in sorted(counts.items())], None
