"""The publishers' own files: PAD-UFES-20 and HAM10000 as they lie beside the checkout."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from miniature import run_ingest

from schemas.catalog import CatalogRow, PixelRow
from schemas.params import parse_params
from schemas.paths import Workspace
from schemas.table import read_table

DATA = Path(__file__).parents[2].parent / "shared/data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="../shared/data is not here: the publishers' files are not ours"
)


@needs_data
def test_pad_ufes_20(tmp_path: Path) -> None:
    source = {"adapter": "pad_ufes_20", "path": str(DATA / "pad_ufes_20")}
    workspace = Workspace(tmp_path)
    count = run_ingest(workspace, parse_params({"sources": {"use": {"pad": source}}}, "t")).sources["pad"]
    assert (count.rows, count.files_without_row) == (2298, 0)
    # Were both of the pair with identical pixels here, one would be in quarantine as duplicate_pixels.
    assert count.catalog == 404 - count.quarantine.get("duplicate_pixels", 0)
    assert count.quarantine["image_missing"] == 1894
    catalog = read_table(workspace.catalog, CatalogRow).to_pandas()
    assert catalog["mask"].all()
    assert catalog["fst"].dropna().between(1, 6).all()
    assert set(catalog["fst_source"].dropna()) == {"expert"}
    assert catalog["ita_deg"].notna().mean() > 0.95
    by_fst = catalog.groupby("fst")["ita_deg"].median()
    assert by_fst[1] > by_fst[4]  # labels are noisy, but not that noisy
    masks = read_table(workspace.images, PixelRow, ["mask"]).column("mask").to_pylist()
    assert all(m is not None for m in masks)


@needs_data
def test_ham10000_rows_and_a_sample_of_its_pixels(tmp_path: Path) -> None:
    # All rows, and every tenth image, as links: the whole set takes longer than a test should.
    source = DATA / "ham10000"
    folder = tmp_path / "ham"
    (folder / "images").mkdir(parents=True)
    (folder / "HAM10000_metadata.csv").symlink_to(source / "HAM10000_metadata.csv")
    images = sorted((source / "images").iterdir())
    assert len(images) == 2347
    for path in images[::10]:
        (folder / "images" / path.name).symlink_to(path)
    params = parse_params(
        {"sources": {"use": {"ham": {"adapter": "ham10000", "path": "ham", "links": "anywhere"}}}}, "t"
    )
    workspace = Workspace(tmp_path)
    count = run_ingest(workspace, params).sources["ham"]
    assert (count.rows, count.files_without_row, count.catalog) == (10015, 0, 235)
    assert count.quarantine == {"image_missing": 10015 - 235}
    catalog = read_table(workspace.catalog, CatalogRow).to_pylist()
    assert {r["fst"] for r in catalog} == {r["patient_id"] for r in catalog} == {None}
    assert len(Counter(r["lesion"] for r in catalog)) == 7
    assert {tuple(r["licence_allows"]) for r in catalog} == {("share", "derive")}
    first = next(r for r in catalog if r["source_row_id"] == images[0].stem)
    assert first["source_sha256"] == hashlib.sha256(images[0].read_bytes()).hexdigest()
    assert np.mean([r["ita_pixels"] for r in catalog]) > 200
