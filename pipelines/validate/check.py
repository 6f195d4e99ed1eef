"""The validate stage: the catalog, its pixels and the quarantine in; result.json and result.md out."""

from __future__ import annotations

from functools import reduce

from pipelines.tables.query import catalog_files, connect
from pipelines.validate.batches import count_frame, key_frame, open_tables, row_frames
from pipelines.validate.result import Check, ValidationResult
from pipelines.validate.suite import Suite
from schemas.params import Params
from schemas.paths import Workspace
from schemas.table import write_text


def validate_catalog(workspace: Workspace, params: Params) -> ValidationResult:
    """Return every expectation's verdict, after writing data/validation/{result.json, result.md}.

    A failed expectation does not raise here, so that the result is on disk first: call `require_passed` on it.
    Uniqueness needs the keys of all rows in memory, everything else one batch of rows at a time. The same catalog
    and params give the same bytes.

    Raises:
        WorkspaceError: there is no catalog; run ingest first.
        CheckFailed: a file has other columns than its row type declares.
    """
    catalog_files(workspace, "validate")
    limits = {
        "min_rows": params.validate_.min_rows,
        "max_quarantine_share": params.validate_.max_quarantine_share,
    }
    with connect(workspace) as con:
        open_tables(con, workspace)
        counts = count_frame(con, workspace)
        rows = Suite("rows", limits)
        checks = [
            *Suite("whole", limits).check(key_frame(con)),
            *reduce(_join, (rows.check(frame) for frame in row_frames(con))),
            *Suite("counts", limits).check(counts),
        ]
    result = ValidationResult(
        passed=all(c.passed for c in checks if c.critical),
        catalog_rows=int(counts["catalog_rows"][0]),
        quarantine_rows=int(counts["quarantine_rows"][0]),
        image_rows=int(counts["image_rows"][0]),
        checks=tuple(checks),
    )
    write_text(result.model_dump_json(indent=2) + "\n", workspace.validation / "result.json")
    write_text(result.markdown(), workspace.validation / "result.md")
    return result


def _join(left: list[Check], right: list[Check]) -> list[Check]:
    return [a.joined(b) for a, b in zip(left, right, strict=True)]
