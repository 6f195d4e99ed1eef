"""The custom quota table: images by stratum, out of params.yaml or a file in infra/quotas."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.stratify.targets import Stratum
from schemas.errors import ParamsError
from schemas.paths import Workspace
from schemas.quota_params import QuotaParams
from schemas.words import parse_stratum

COLUMNS = ["stratum", "images"]
MOST_IMAGES = 10**9


def read_quota_table(workspace: Workspace, quotas: QuotaParams) -> dict[Stratum, int] | None:
    """Return images wanted by stratum; None where the policy is not `table`.

    Raises:
        ParamsError: the file is missing or not readable, has other columns, or a row of it is wrong: which and why.
    """
    if quotas.table is not None:
        return {parse_stratum(name): images for name, images in quotas.table.items()}
    if quotas.table_file is None:
        return None
    path = workspace.quota_tables / quotas.table_file
    where = f"{path.relative_to(workspace.root)}"
    if not path.is_file():
        raise ParamsError(f"{where}: no such file; stratify.quotas.table_file names it; write it or correct the name")
    try:
        rows = _parquet(path, where) if path.suffix == ".parquet" else _csv(path, where)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise ParamsError(f"{where}: not readable ({str(error).splitlines()[0]}); write it again") from None
    return _checked(rows, where)


def _csv(path: Path, where: str) -> list[tuple[Any, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle)
        _check_columns(list(reader.fieldnames or []), where)
        return [(row["stratum"], row["images"]) for row in reader]


def _parquet(path: Path, where: str) -> list[tuple[Any, Any]]:
    _check_columns(pq.read_schema(path).names, where)
    return [(row["stratum"], row["images"]) for row in pq.read_table(path, columns=COLUMNS).to_pylist()]


def _check_columns(found: list[str], where: str) -> None:
    if sorted(found) != sorted(COLUMNS):
        raise ParamsError(
            f"{where}: got columns {', '.join(found) or 'none'}; needs {' and '.join(COLUMNS)}; rename them"
        )


def _checked(rows: Iterable[tuple[Any, Any]], where: str) -> dict[Stratum, int]:
    found: dict[Stratum, int] = {}
    for number, (name, images) in enumerate(rows, 1):
        try:
            stratum = parse_stratum(str(name).strip())
        except ValueError as error:
            raise ParamsError(f"{where}: row {number}: {error}") from None
        whole = str(images).strip()
        if not whole.isascii() or not whole.isdigit() or int(whole) > MOST_IMAGES:
            raise ParamsError(
                f"{where}: row {number}: stratum {name}: got {images!r} images; needs a whole number from 0 to "
                f"{MOST_IMAGES}; correct it"
            )
        if stratum in found:
            raise ParamsError(f"{where}: row {number}: stratum {name}: there twice; keep one row of it")
        found[stratum] = int(whole)
    return found
