"""Which images must share a split: patients, lesions and duplicate clusters that touch are one group."""

from __future__ import annotations

import duckdb

from pipelines.stratify.query import statement
from schemas.params import SplitShares

DRAWS = 2**32
"""A group's draw is 32 bits of a hash: 0 to DRAWS - 1."""


def label_groups(con: duckdb.DuckDBPyConnection, files: list[str]) -> int:
    """Return the number of rounds it took to fill the table `label`: owner -> smallest owner of its group.

    Only owners linked to another one are in the table; every other owner is a group of its own. The number of rounds
    grows with the logarithm of the longest chain of links, not with the number of images.
    """
    con.execute(statement("links"), {"catalog": files})
    con.execute(
        "CREATE OR REPLACE TEMP TABLE label AS "
        "SELECT owner, owner AS label, true AS moved FROM (SELECT a AS owner FROM link UNION SELECT b FROM link)"
    )
    rounds = 0
    while con.execute("SELECT coalesce(bool_or(moved), false) FROM label").fetchall() == [(True,)]:
        con.execute(statement("hook"))
        rounds += 1
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
