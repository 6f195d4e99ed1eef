"""Catalogs made by hand, for tests of the stages after ingest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.catalog import CatalogRow, CopyRow, PixelRow, QuarantineRow
from schemas.duplicates import ClusterRow
from schemas.params import Params, parse_params
from schemas.paths import Workspace
from schemas.table import Image, write_rows

GOOD: dict[str, Any] = {
    "source": "phantom",
    "patient_id": None,
    "lesion_id": None,
    "modality": "phantom",
    "lesion": "nevus",
    "lesion_raw": "nevus",
    "fst": 2,
    "fst_source": "expert",
    "ita_deg": 45.0,
    "ita_pixels": 900,
    "colour_constancy": "none",
    "mask": True,
    "width": 64,
    "height": 64,
    "licence": "Apache-2.0",
    "licence_allows": ["commercial", "share", "derive"],
    "site": "back",
    "age_band": "40-49",
    "sex": "female",
    "split": None,
    "dup_cluster": None,
    "malignancy": "benign",
    "lesion_group": "melanocytic",
}


def catalog_row(number: int, **changes: Any) -> CatalogRow:
    """Return a good row whose ids follow from `number`, with the given columns changed."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    ids = {"image_id": digest[:24], "source_row_id": f"row-{number:06d}", "source_sha256": digest}
    return CatalogRow.model_validate({**ids, **GOOD, **changes})


def fill(
    root: Path,
    rows: Sequence[CatalogRow],
    *,
    pixels: Sequence[str] | None = None,
    quarantined: int = 0,
    shard_rows: int = 1000,
) -> Workspace:
    """Return a workspace under `root` whose data/ looks as ingest and dedupe leave it; `pixels` defaults to one a row.

    Rows with a `dup_cluster` are listed as members of it, and all are kept.
    """
    workspace = Workspace(root)
    for start in range(0, max(len(rows), 1), shard_rows):
        name = f"part-{start // shard_rows:05d}.parquet"
        write_rows(rows[start : start + shard_rows], CatalogRow, workspace.catalog / name)
    ids = [r.image_id for r in rows] if pixels is None else pixels
    blank = Image(bytes=b"png", path="x.png")
    write_rows([PixelRow(image_id=i, image=blank, mask=None) for i in ids], PixelRow, workspace.images / "a.parquet")
    refused = [
        QuarantineRow(source="phantom", source_row_id=f"bad-{i}", code="image_missing", message="no file", raw="{}")
        for i in range(quarantined)
    ]
    write_rows(refused, QuarantineRow, workspace.quarantine / "a.parquet")
    write_clusters(workspace, rows)
    write_copies(workspace)
    return workspace


def write_clusters(workspace: Workspace, rows: Sequence[CatalogRow], dropped: Sequence[str] = ()) -> None:
    """Write data/duplicates/clusters.parquet from the rows' `dup_cluster`; images named in `dropped` are not kept."""
    members = [
        ClusterRow(
            dup_cluster=r.dup_cluster,
            image_id=r.image_id,
            source=r.source,
            source_row_id=r.source_row_id,
            kept=r.image_id not in dropped,
        )
        for r in rows
        if r.dup_cluster is not None
    ]
    write_rows(members, ClusterRow, workspace.clusters)


def write_copies(workspace: Workspace, rows: Sequence[CatalogRow] = ()) -> None:
    """Write data/copies: rows that stayed out, each with the `image_id` of the catalog row with the same pixels."""
    columns = set(CopyRow.model_fields)
    copies = [CopyRow.model_validate(r.model_dump(include=columns)) for r in rows]
    write_rows(copies, CopyRow, workspace.copies / "a.parquet")


def params(**sections: Any) -> Params:
    """Return default parameters with one phantom source and the given sections."""
    return parse_params({"sources": {"use": {"phantom": {"adapter": "phantom"}}}, **sections}, "params.yaml")
