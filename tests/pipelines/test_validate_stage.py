"""The validate stage on files: the verdict, the two reports, and the one line that stops a build."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalog_rows import catalog_row, fill, params

from pipelines.validate.check import validate_catalog
from pipelines.validate.result import ValidationResult
from schemas.catalog import CatalogRow
from schemas.errors import CheckFailed, WorkspaceError
from schemas.paths import Workspace

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = params(validate={"min_rows": 20, "max_quarantine_share": 0.5})


def good(count: int = 30) -> list[CatalogRow]:
    return [catalog_row(i) for i in range(count)]


def broken() -> list[CatalogRow]:
    rows = good()
    rows[3] = catalog_row(3, ita_deg=181.0)
    rows[5] = catalog_row(5, ita_deg=float("nan"))
    rows[7] = catalog_row(6)
    return rows


def sources(workspace: Workspace, rows: int) -> None:
    found = {"sources": {"phantom": {"rows": rows, "files_without_row": 1}}}
    workspace.sources.write_text(json.dumps(found), encoding="utf-8")


def test_a_good_catalog_passes(tmp_path: Path) -> None:
    workspace = fill(tmp_path, good(), quarantined=10)
    sources(workspace, 39)
    result = validate_catalog(workspace, SETTINGS)
    result.require_passed()
    assert result.passed
    assert (result.catalog_rows, result.quarantine_rows, result.image_rows) == (30, 10, 30)
    assert result.failed == []
    assert result.summary == (
        "30 catalog rows, 10 in quarantine: 37 of 37 expectations hold, 0 critical failed, 0 others failed"
    )


def test_a_broken_catalog_is_reported_as_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.validate.batches.BATCH_ROWS", 13)  # batches change nothing in the result
    rows = broken()
    pixels = [r.image_id for r in rows if r.source_row_id != "row-000006"] + [rows[6].image_id, "f" * 24]
    workspace = fill(tmp_path, rows, pixels=pixels[1:], quarantined=40, shard_rows=11)
    sources(workspace, 70)
    result = validate_catalog(workspace, SETTINGS)
    assert (workspace.validation / "result.md").read_text(encoding="utf-8") == (GOLDEN / "validation.md").read_text(
        encoding="utf-8"
    )
    written = (workspace.validation / "result.json").read_text(encoding="utf-8")
    assert ValidationResult.model_validate_json(written) == result
    with pytest.raises(CheckFailed) as caught:
        result.require_passed()
    assert f"{caught.value}\n" == (GOLDEN / "validation_error.txt").read_text(encoding="utf-8")
    assert caught.value.exit_code == 1
    before = written
    validate_catalog(workspace, SETTINGS)
    assert (workspace.validation / "result.json").read_text(encoding="utf-8") == before


def test_a_warning_does_not_stop_the_build(tmp_path: Path) -> None:
    workspace = fill(tmp_path, [*good(), *(catalog_row(100 + i, ita_deg=None) for i in range(30))])
    result = validate_catalog(workspace, SETTINGS)
    result.require_passed()
    assert [(c.column, c.critical, c.observed) for c in result.failed] == [("ita_missing_share", False, ("0.5",))]
    assert "| warning |" in result.markdown()


def test_too_few_rows_or_none_at_all(tmp_path: Path) -> None:
    for rows in (good(19), []):
        result = validate_catalog(fill(tmp_path / str(len(rows)), rows), SETTINGS)
        with pytest.raises(CheckFailed) as caught:
            result.require_passed()
        assert str(caught.value) == (
            f"validate: expect_table_row_count_to_be_between: got {len(rows)}, needs min_value 20; add a source, read "
            "data/quarantine for what was refused, or lower validate.min_rows; see data/validation/result.md"
        )


def test_missing_pixels_and_no_quarantine_folder(tmp_path: Path) -> None:
    workspace = fill(tmp_path, good())
    for file in (*workspace.images.iterdir(), *workspace.quarantine.iterdir()):
        file.unlink()
    result = validate_catalog(workspace, SETTINGS)
    assert [(c.column, c.unexpected) for c in result.failed] == [("pixel_rows", 30)]
    assert result.quarantine_rows == 0


def test_no_catalog_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as caught:
        validate_catalog(Workspace(tmp_path), SETTINGS)
    assert str(caught.value) == (
        "data/catalog: got no Parquet file; validate needs a catalog; run `equiderm ingest` first"
    )
    assert not (tmp_path / "data").exists()


def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    workspace = fill(tmp_path, good())
    pq.write_table(pa.table({"image_id": ["x"]}), workspace.images / "stray.parquet")
    with pytest.raises(CheckFailed, match=r"stray\.parquet: columns \['image_id'\] are not the declared ones"):
        validate_catalog(workspace, SETTINGS)


def test_great_expectations_is_imported_late() -> None:
    code = "import sys, pipelines.validate.check; print('great_expectations' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
