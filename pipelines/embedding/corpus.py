"""The real images of a workspace with their labels, as gates and evaluation read them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.catalog import CatalogRow
from schemas.errors import WorkspaceError
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import Modality, Split


@dataclass(frozen=True)
class Corpus:
    """Catalog rows and their pixels, in the order of `image_id`."""

    rows: list[CatalogRow]
    pixels: NDArray[np.uint8]  # (N, r, r, 3)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lesions(self) -> NDArray[np.str_]:
        """Canonical lesion of each image, (N,) str."""
        return np.array([row.lesion.value for row in self.rows], dtype=np.str_)

    def where(self, keep: NDArray[np.bool_]) -> Corpus:
        """Return the images for which `keep`, bool (N,), holds."""
        return Corpus([row for row, kept in zip(self.rows, keep, strict=True) if kept], self.pixels[keep])

    def split(self, split: Split) -> Corpus:
        """Return the images of one split."""
        return self.where(np.array([row.split == split for row in self.rows], dtype=bool))


def read_labels(workspace: Workspace) -> list[CatalogRow]:
    """Return the catalog with its splits, in the order of `image_id`.

    Raises:
        WorkspaceError: stratify has not run.
    """
    if not workspace.splits.is_file():
        raise WorkspaceError("data/strata/catalog.parquet: not there; run `equiderm stratify` first")
    return sorted(read_rows(workspace.splits, CatalogRow), key=lambda row: row.image_id)


def read_corpus(workspace: Workspace, modality: Modality, splits: Collection[Split]) -> Corpus:
    """Return the real images of one modality and some splits.

    Raises:
        WorkspaceError: stratify has not run, or the catalog names an image that data/images does not hold.
    """
    rows = [row for row in read_labels(workspace) if row.modality == modality and row.split in splits]
    pixels = _read_pixels(workspace, {row.image_id for row in rows})
    missing = [row.image_id for row in rows if row.image_id not in pixels]
    if missing:
        raise WorkspaceError(
            f"data/images: {len(missing)} of {len(rows)} catalog images are missing, first {missing[0]}; "
            "run `equiderm ingest` again"
        )
    if not rows:
        return Corpus([], np.empty((0, 1, 1, 3), np.uint8))
    return Corpus(rows, np.stack([pixels[row.image_id] for row in rows]))


def _read_pixels(workspace: Workspace, wanted: set[str]) -> dict[str, NDArray[np.uint8]]:
    from pipelines.imaging.normalise import decode_png

    found: dict[str, NDArray[np.uint8]] = {}
    for shard in sorted(workspace.images.glob("*.parquet")):
        if shard.name.startswith("."):
            continue
        table = pq.read_table(shard, columns=["image_id", "image"])
        table = table.filter(pc.is_in(table["image_id"], value_set=pa.array(sorted(wanted), pa.string())))
        for image_id, image in zip(table["image_id"].to_pylist(), table["image"].to_pylist(), strict=True):
            found[image_id] = decode_png(image["bytes"])
    return found
