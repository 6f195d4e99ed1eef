"""Colour constancy through ingest: it names the pixels, stands in the catalog and is part of the shard's key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from miniature import pad_params, photo, png, row, run_ingest, write_pad

from pipelines.imaging.constancy import balance
from pipelines.imaging.normalise import decode_png, image_id
from pipelines.imaging.tone import measure_ita
from pipelines.ingest.plan import plan_shards
from schemas.catalog import CatalogRow, PixelRow
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import ColourConstancy


def test_method_is_applied_before_name_and_angle_and_recorded(tmp_path: Path) -> None:
    skin = np.clip(photo(5).astype(int) // 8 + (170, 120, 90), 0, 255).astype(np.uint8)
    write_pad(tmp_path, [row(1)], {"P_1.png": png(skin)})
    workspace = Workspace(tmp_path)
    found: dict[ColourConstancy, CatalogRow] = {}
    keys = set()
    for method in ColourConstancy:
        params = pad_params(resolution=40, colour_constancy=str(method))
        keys.add(plan_shards(workspace, params)[0].key)
        run_ingest(workspace, params)
        entry = read_rows(workspace.catalog, CatalogRow)[0]
        stored = decode_png(read_rows(workspace.images, PixelRow)[0].image.bytes)
        np.testing.assert_array_equal(stored, balance(skin, method))
        assert entry.image_id == image_id(stored)
        assert entry.ita_deg == np.float32(measure_ita(stored).deg or 0)
        assert entry.colour_constancy == method
        found[method] = entry
    assert len(keys) == len(ColourConstancy)
    assert len({e.image_id for e in found.values()}) == len(ColourConstancy)
    assert len({e.source_sha256 for e in found.values()}) == 1
