"""Which images must share a split: patients, lesions, duplicate clusters and exact copies that touch are one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipelines.tables.query import statement
from schemas.params import SplitShares

SQL = Path(__file__).parent
DRAWS = 2**32
"""A group's draw is 32 bits of a hash: 0 to DRAWS - 1."""


@dataclass(frozen=True)
class Files:
    """What ingest and dedupe wrote, as Parquet files."""

    catalog: Sequence[str]
    copies: Sequence[str]
    clusters: Sequence[str]


def group_owners(con: duckdb.DuckDBPyConnection, files: Files, sources: Sequence[str]) -> int:
    """Return the rounds it took to fill the tables `grouped` (owner, founder), `closed` (founder) and `member`.

    Only owners linked to another one are in `grouped`; every other owner is a group of its own. `closed` are the groups
    that may not be learned from, `member` the rows that are in a duplicate cluster. `sources` are the sources in the
    order they were added: a group's founder is the first owner of its first source, so a source added later changes no
    founder. The rounds grow with the logarithm of the longest chain of links.
    """
    con.execute(statement(SQL, "members"), {"clusters": list(files.clusters)})
    con.execute(statement(SQL, "copied"), {"copies": list(files.copies)})
    rows = {"catalog": list(files.catalog), "copies": list(files.copies)}
    con.sql(statement(SQL, "rows"), params=rows).create_view("entry")
    con.execute(statement(SQL, "shared"))
    con.execute(statement(SQL, "linked"))
    con.execute(statement(SQL, "founders"), {"sources": list(sources)})
    con.execute(statement(SQL, "links"))
    con.execute(statement(SQL, "labels"))
    rounds = 0
    while con.execute("SELECT coalesce(bool_or(moved), false) FROM label").fetchall() == [(True,)]:
        con.execute(statement(SQL, "hook"))
        rounds += 1
    con.execute(statement(SQL, "groups"))
    con.execute(statement(SQL, "closed"))
    return rounds


def cuts(shares: SplitShares) -> tuple[int, int]:
    """Return the draws below which a group is in `train`, and below which it is in `validation`.

    A split whose share is 0 gets no draw at all, whatever the rounding of the other shares.
    """
    train = round(shares.train * DRAWS)
    validation = train if shares.validation == 0 else round((shares.train + shares.validation) * DRAWS)
    if shares.test == 0:
        validation = DRAWS
        train = DRAWS if shares.validation == 0 else train
    return min(train, DRAWS), min(validation, DRAWS)
