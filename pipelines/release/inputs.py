"""What a release is made of, opened and checked: the tables of the earlier stages in one DuckDB session."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from schemas.catalog import CatalogRow, PixelRow, QuarantineRow
from schemas.errors import CheckFailed, NotFoundError
from schemas.ledger import AttemptRow, SyntheticRow
from schemas.licences import Licence, licence_of, most_restrictive
from schemas.metrics import Metrics, load_metrics
from schemas.params import Params
from schemas.paths import Workspace
from schemas.strata import QuotaRow, StratumRow
from schemas.table import Row, arrow_schema, read_table

SQL: Final = Path(__file__).parent / "sql"
MEMORY_LIMIT: Final = "1GB"
"""For sorting pixels by image_id; beyond it DuckDB spills to the system's temporary folder."""


@dataclass(frozen=True)
class Terms:
    """Under which terms several sources may be used together."""

    licence: Licence  # the most restrictive one: the one to name
    allows: tuple[str, ...]  # what all of them allow


@dataclass(frozen=True)
class Inputs:
    """What a release is made of. Tables in `db`: catalog, ledger, strata, quotas, quarantine, pixels, released."""

    workspace: Workspace
    params: Params
    db: duckdb.DuckDBPyConnection
    metrics: Metrics
    models: dict[str, dict[str, Any]]  # generator -> its config.json, for generators with an accepted image
    terms: Terms  # of the release: all sources together
    synthetic_terms: Terms  # of the sources the generators learned from

    def rows(self, query: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return a query's rows as dicts."""
        cursor = self.db.execute(query, parameters) if parameters else self.db.execute(query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def count(self, query: str) -> int:
        """Return a query's single number."""
        return int(self.rows(query)[0]["n"])


def read_sql(name: str) -> str:
    """Return the query kept in sql/<name>.sql."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def open_inputs(workspace: Workspace, params: Params) -> Inputs:
    """Return the release's inputs, read from the workspace; call `.db.close()` when done.

    Raises:
        NotFoundError: a stage before release has not run.
        CheckFailed: a table has other columns than declared, or a source's licence forbids derived images.
    """
    _need(workspace)
    db = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": tempfile.gettempdir()})
    small: list[tuple[str, Path | list[Path], type[Row]]] = [
        ("catalog", workspace.splits, CatalogRow),
        ("ledger", workspace.ledger, AttemptRow),
        ("strata", workspace.strata, StratumRow),
        ("quotas", workspace.quotas, QuotaRow),
        ("quarantine", workspace.quarantined, QuarantineRow),
    ]
    for name, path, row in small:
        there = bool(path) if isinstance(path, list) else path.exists()
        db.register(name, read_table(path, row) if there else arrow_schema(row).empty_table())
    _view_of_pixels(db, workspace)
    terms, learned = _terms(db, "true"), _terms(db, "split = 'train'")
    if db.execute("SELECT count(*) FROM ledger WHERE accepted").fetchall()[0][0]:
        _may_derive(db)
    models = _models(db, workspace)
    terms, learned = with_weights(terms, models), with_weights(learned, models)
    db.register("synthetic_terms", pa.table({"licence": [learned.licence.id]}))
    db.execute(read_sql("released"))
    return Inputs(workspace, params, db, load_metrics(workspace.evaluation), models, terms, learned)


def _terms(db: duckdb.DuckDBPyConnection, where: str) -> Terms:
    """Return the terms of the catalog's rows that meet a condition.

    Raises:
        CheckFailed: there is no such row.
    """
    rows = db.execute(f"SELECT DISTINCT licence, licence_allows FROM catalog WHERE {where}").fetchall()
    if not rows:
        raise CheckFailed(
            f"data/strata/catalog.parquet: no row where {where}; a release needs real training images; "
            "read the quarantine of ingest and dedupe"
        )
    allows = set.intersection(*(set(allowed) for _, allowed in rows))
    return Terms(most_restrictive({licence for licence, _ in rows}), tuple(sorted(allows)))


def with_weights(terms: Terms, models: Mapping[str, Mapping[str, Any]]) -> Terms:
    """Return the terms joined with those of other people's weights that drew: a fine-tuned base, an autoencoder."""
    used = [
        config[part]["licence"] for config in models.values() for part in ("base", "autoencoder") if config.get(part)
    ]
    allowed = [a for a in terms.allows if all(a in licence_of(name).allows for name in used)]
    return Terms(most_restrictive([terms.licence.id, *used]), tuple(allowed))


def _need(workspace: Workspace) -> None:
    stages = {workspace.images: "ingest", workspace.splits: "stratify", workspace.strata: "stratify"}
    stages |= {workspace.quotas: "stratify", workspace.ledger: "produce"}
    for path, stage in stages.items():
        if not path.exists():
            where = path.relative_to(workspace.root).as_posix()
            raise NotFoundError(f"{where}: not there; release needs it; run `equiderm {stage}` first")


def _view_of_pixels(db: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Pixels stay on disk: only their ids are read here, which also checks every file's columns."""
    parts = []
    for folder, row in ((workspace.images, PixelRow), (workspace.shards, SyntheticRow)):
        files = sorted(f for f in folder.glob("*.parquet") if not f.name.startswith(".")) if folder.exists() else []
        if files:
            read_table(files, row, ["image_id"])
            listed = ", ".join("'" + str(f).replace("'", "''") + "'" for f in files)
            parts.append(f"SELECT image_id, image, '{row.__name__}' AS origin FROM read_parquet([{listed}])")
    if not parts:
        raise CheckFailed(
            "data/images: holds no pixels; a release needs some; run `equiderm ingest` and read its quarantine"
        )
    db.execute("CREATE VIEW pixels AS " + " UNION ALL ".join(parts))


def _may_derive(db: duckdb.DuckDBPyConnection) -> None:
    query = (
        "SELECT DISTINCT source, licence FROM catalog "
        "WHERE split = 'train' AND NOT list_contains(licence_allows, 'derive')"
    )
    for source, licence in sorted(db.execute(query).fetchall()):
        raise CheckFailed(
            f"source {source}: its licence {licence} does not allow derived images, and the generator learned from it; "
            "remove it from sources.use and train again"
        )


def _models(db: duckdb.DuckDBPyConnection, workspace: Workspace) -> dict[str, dict[str, Any]]:
    found = {}
    for (name,) in sorted(db.execute("SELECT DISTINCT generator FROM ledger WHERE accepted").fetchall()):
        config = workspace.model(name) / "config.json"
        if not config.is_file():
            raise NotFoundError(
                f"models/{name}/config.json: not there; {name} made images of this release; run `equiderm train`"
            )
        found[name] = json.loads(config.read_text(encoding="utf-8"))
    return found
