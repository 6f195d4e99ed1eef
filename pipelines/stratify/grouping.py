"""Which images must share a split: patients, lesions and duplicate clusters that touch are one group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from pipelines.tables.query import statement
from schemas.params import SplitShares

SQL = Path(__file__).parent
DRAWS = 2**32
"""A group's draw is 32 bits of a hash: 0 to DRAWS - 1."""


def group_owners(con: duckdb.DuckDBPyConnection, catalog: Sequence[str], sources: Sequence[str]) -> int:
    """Return the rounds it took to fill the table `grouped` (owner, founder) from the catalog and the table `member`.

    Only owners linked to another one are in the table; every other owner is a group of its own. `sources` are the
    sources in the order they were added: a group's founder is the first owner of its first source, so a source added
    later changes no founder. The rounds grow with the logarithm of the longest chain of links.
    """
    con.execute(statement(SQL, "shared"), {"catalog": list(catalog)})
    con.execute(statement(SQL, "linked"), {"catalog": list(catalog)})
    con.execute(statement(SQL, "founders"), {"catalog": list(catalog), "sources": list(sources)})
    con.execute(statement(SQL, "links"))
    con.execute(statement(SQL, "labels"))
    rounds = 0
    while con.execute("SELECT coalesce(bool_or(moved), false) FROM label").fetchall() == [(True,)]:
        con.execute(statement(SQL, "hook"))
        rounds += 1
    con.execute(statement(SQL, "groups"))
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
