"""The stratify stage: the catalog in; splits, strata and quotas out."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, computed_field

from pipelines.stratify.grouping import SQL, Files, group_owners
from pipelines.stratify.quota_table import read_quota_table
from pipelines.stratify.quotas import allocate
from pipelines.stratify.splits import split_pieces
from pipelines.tables.query import ahead, catalog_files, connect, copy_files, statement, stream, write_stream
from schemas.catalog import CatalogRow, CopyRow
from schemas.duplicates import ClusterRow
from schemas.errors import WorkspaceError
from schemas.params import Params, StratifyParams
from schemas.paths import Workspace
from schemas.strata import QuotaRow, StratumRow
from schemas.table import from_table, read_table, to_table
from schemas.words import Support

UNIQUE = ("image_id", "source_row_id", "source_sha256", "patient_id", "lesion_id", "dup_cluster")


class StratifyResult(BaseModel):
    """Who is there, who is missing, and what will be made of it."""

    model_config = ConfigDict(frozen=True)

    strata: tuple[StratumRow, ...]
    quotas: tuple[QuotaRow, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def totals(self) -> dict[str, int]:
        """Images by split, strata by support level, and synthetic images needed, to make, and short of the need."""
        need, quota = sum(q.need for q in self.quotas), sum(q.quota for q in self.quotas)
        return {
            "real": sum(s.n_real for s in self.strata),
            "train": sum(s.n_train for s in self.strata),
            "validation": sum(s.n_validation for s in self.strata),
            "test": sum(s.n_test for s in self.strata),
            "strata": len(self.strata),
            **{level.value: sum(s.support is level for s in self.strata) for level in Support},
            "need": need,
            "quota": quota,
            "beyond_quota": need - quota,
        }

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> str:
        """The result in one line."""
        t = self.totals
        return (
            f"{t['real']} images (train {t['train']}, validation {t['validation']}, test {t['test']}) "
            f"in {t['strata']} strata ({t['supported']} supported, {t['borrowed']} borrowed, "
            f"{t['unsupported']} unsupported); {t['quota']} synthetic images to make of {t['need']} needed"
        )


def stratify(workspace: Workspace, params: Params) -> StratifyResult:
    """Return strata and quotas of the catalog, after writing data/strata/{catalog,strata,quotas}.parquet.

    The same files and params give the same bytes; in another order of rows, the same split for each. The three files
    appear together, once all are written.

    Raises:
        WorkspaceError: there is no catalog, list of exact copies or table of duplicates; run ingest or dedupe first.
        CheckFailed: a file has other columns than CatalogRow, CopyRow, or ClusterRow.
        ParamsError: the quota table is not readable, or names a stratum that the catalog does not have.
    """
    table = read_quota_table(workspace, params.stratify.quotas)
    files = catalog_files(workspace, "stratify")
    read_table([Path(f) for f in files], CatalogRow, columns=["mask"])  # the cheapest column; the columns are checked
    goals = (workspace.splits, workspace.strata, workspace.quotas)
    partials = {goal: goal.with_name(f".{goal.name}.partial") for goal in goals}
    workspace.splits.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write_splits(workspace, files, params, partials[workspace.splits])
        strata = _count_strata(workspace, params.stratify, partials[workspace.splits])
        quotas = allocate(strata, params.stratify, table)
        write_stream(iter([to_table(strata, StratumRow)]), StratumRow, partials[workspace.strata])
        write_stream(iter([to_table(quotas, QuotaRow)]), QuotaRow, partials[workspace.quotas])
        for goal, partial in partials.items():
            partial.replace(goal)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
    return StratifyResult(strata=tuple(strata), quotas=tuple(quotas))


def _write_splits(workspace: Workspace, files: list[str], params: Params, path: Path) -> None:
    if not workspace.clusters.is_file():
        where = workspace.clusters.relative_to(workspace.root)
        raise WorkspaceError(f"{where}: not there; stratify must know the duplicates; run `equiderm dedupe` first")
    read_table(workspace.clusters, ClusterRow, columns=["kept"])  # checks the declared columns
    copies = copy_files(workspace, "stratify")
    read_table([Path(f) for f in copies], CopyRow, columns=["lesion"])
    with connect(workspace) as con:
        group_owners(con, Files(files, copies, [str(workspace.clusters)]), list(params.sources.use))
        write_stream(ahead(split_pieces(con, files, params.stratify)), CatalogRow, path, plain=UNIQUE)


def _count_strata(workspace: Workspace, params: StratifyParams, splits: Path) -> list[StratumRow]:
    given = {
        "catalog": [str(splits)],
        "supported": params.support.supported,
        "borrowed": params.support.borrowed,
    }
    with connect(workspace) as con:
        tables = stream(con, statement(SQL, "strata"), given, StratumRow)
        return [row for table in tables for row in from_table(table, StratumRow)]
