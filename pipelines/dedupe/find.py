"""The dedupe stage: the catalog and its pixels in; clusters, pairs and quarantine out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, computed_field

from pipelines.dedupe.clusters import Verdict, components, is_series, judge
from pipelines.dedupe.confirm import Pairs, candidates, cosines, same_picture, undecided
from pipelines.dedupe.copies import disputed_copies, with_alone
from pipelines.embedding.extractor import default_extractor
from pipelines.imaging.hashing import BITS, details, structures
from pipelines.imaging.normalise import decode_png
from pipelines.tables.query import catalog_files
from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.duplicates import ClusterRow, PairRow
from schemas.errors import CheckFailed
from schemas.params import Params
from schemas.paths import Workspace
from schemas.table import from_table, read_table, write_rows
from schemas.words import Modality

AT_ONCE = 1024
"""Images decoded at once."""


class DedupeResult(BaseModel):
    """How many pictures are there more than once, and what became of them."""

    model_config = ConfigDict(frozen=True)

    images: int
    pairs_compared: int
    pairs_confirmed: int
    clusters: int
    clustered: int
    quarantine: dict[str, int]
    """Rows by code."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> str:
        """The result in one line."""
        left = ", ".join(f"{n} {code}" for code, n in self.quarantine.items()) or "none"
        return (
            f"{self.images} images, {self.pairs_compared} pairs looked at closely, {self.pairs_confirmed} the same picture; "
            f"{self.clustered} images in {self.clusters} clusters; in quarantine: {left}"
        )


def find_duplicates(workspace: Workspace, params: Params) -> DedupeResult:
    """Return the counts, after writing data/duplicates/{clusters,pairs,quarantine}.parquet.

    Rows are the same whatever the order of the catalog; the same files and params give the same bytes. Pictures of one
    lesion, as one source says, are a series and not compared further: stratify keeps them together anyway. What exact
    copies say of the lesion counts like what the rows of the catalog say.

    Raises:
        WorkspaceError: there is no catalog or no list of exact copies; run ingest first.
        CheckFailed: a file has other columns than declared, or a catalog row has no pixels.
    """
    files = [Path(f) for f in catalog_files(workspace, "dedupe")]
    names = read_table(files, CatalogRow, columns=["image_id"])["image_id"].to_pylist()
    place = {name: i for i, name in enumerate(sorted(names))}
    structure = _structures(workspace, place)
    pairs = candidates(structure, params.dedupe)
    copies = disputed_copies(workspace, files)
    wanted = {int(i) for i in np.unique(np.concatenate([pairs["a"], pairs["b"]]))}
    rows = _rows(files, place, wanted | {place[name] for name in copies})
    both = [(rows[int(a)], rows[int(b)]) for a, b in zip(pairs["a"], pairs["b"], strict=True)]
    series = np.array([is_series(one, other) for one, other in both], bool)
    drawn = np.array([one.modality == other.modality == Modality.PHANTOM for one, other in both], bool)
    detail = cosines(pairs, _pixels(workspace, place, wanted), details)
    asked = undecided(detail, drawn, series, params.dedupe)
    similarity = np.full(len(pairs), np.nan, np.float32)
    similarity[asked] = cosines(pairs[asked], _pixels(workspace, place, wanted), default_extractor())
    confirmed = same_picture(detail, similarity, drawn, params.dedupe) & ~series
    groups = with_alone(components(pairs["a"][confirmed], pairs["b"][confirmed], len(place)), copies, place)
    verdict = judge(rows, groups, params.dedupe.policy, list(params.sources.use), copies)
    _write(workspace, verdict, _pair_rows(pairs, detail, similarity, series, confirmed, rows))
    return DedupeResult(
        images=len(place),
        pairs_compared=len(pairs),
        pairs_confirmed=int(confirmed.sum()),
        clusters=len(groups),
        clustered=len(verdict.clusters),
        quarantine=dict(sorted(Counter(row.code for row in verdict.quarantine).items())),
    )


def _structures(workspace: Workspace, place: dict[str, int]) -> NDArray[np.float32]:
    """Return the structure of every catalog image, (N, 64), by place."""
    found = np.zeros((len(place), BITS), np.float32)
    seen = np.zeros(len(place), bool)
    batch: list[tuple[int, NDArray[np.uint8]]] = []
    for at, pixels in _pixels(workspace, place, None):
        batch.append((at, pixels))
        if len(batch) == AT_ONCE:
            _measure(batch, found, seen)
            batch = []
    _measure(batch, found, seen)
    if not seen.all():
        name = min(name for name, at in place.items() if not seen[at])
        raise CheckFailed(
            f"data/images: no pixels for {int((~seen).sum())} of {len(place)} catalog rows, first {name}; dedupe compares "
            "pictures; run `equiderm ingest` again"
        )
    return found


def _measure(batch: list[tuple[int, NDArray[np.uint8]]], found: NDArray[np.float32], seen: NDArray[np.bool_]) -> None:
    if batch:
        at = [i for i, _ in batch]
        found[at] = structures(np.stack([pixels for _, pixels in batch]))
        seen[at] = True


def _pixels(
    workspace: Workspace, place: dict[str, int], wanted: set[int] | None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (place, pixels) of the catalog's images, of `wanted` places if given; one batch of rows is in memory."""
    if wanted is not None and not wanted:
        return
    files = sorted(f for f in workspace.images.glob("*.parquet") if not f.name.startswith("."))
    read_table(files, PixelRow, columns=["image_id"])  # checks the declared columns
    for file in files:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(AT_ONCE, columns=["image_id", "image.bytes"]):
                for name, image in zip(batch["image_id"].to_pylist(), batch["image"].to_pylist(), strict=True):
                    at = place.get(name)
                    if at is not None and (wanted is None or at in wanted):
                        yield at, decode_png(image["bytes"])


def _rows(files: list[Path], place: dict[str, int], wanted: set[int]) -> dict[int, CatalogRow]:
    """Return the catalog rows at the wanted places."""
    names = pa.array([name for name, at in place.items() if at in wanted], pa.string())
    found: dict[int, CatalogRow] = {}
    for file in files:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(1 << 16):
                chosen = pa.Table.from_batches([batch])
                chosen = chosen.filter(pc.is_in(chosen["image_id"], value_set=names))
                found |= {place[row.image_id]: row for row in from_table(chosen, CatalogRow)}
    return found


def _pair_rows(
    pairs: Pairs,
    detail: NDArray[np.float32],
    similarity: NDArray[np.float32],
    series: NDArray[np.bool_],
    confirmed: NDArray[np.bool_],
    rows: dict[int, CatalogRow],
) -> list[PairRow]:
    return [
        PairRow(
            image_id=rows[int(pair["a"])].image_id,
            other_id=rows[int(pair["b"])].image_id,
            pose=int(pair["pose"]),
            hash_bits=int(pair["bits"]),
            structure=float(pair["structure"]),
            detail=float(fine),
            similarity=None if np.isnan(alike) else float(alike),
            same_lesion=bool(one),
            confirmed=bool(yes),
        )
        for pair, fine, alike, one, yes in zip(pairs, detail, similarity, series, confirmed, strict=True)
    ]


def _write(workspace: Workspace, verdict: Verdict, pairs: list[PairRow]) -> None:
    write_rows(pairs, PairRow, workspace.duplicates / "pairs.parquet")
    write_rows(verdict.quarantine, QuarantineRow, workspace.duplicates / "quarantine.parquet")
    write_rows(verdict.clusters, ClusterRow, workspace.clusters)
