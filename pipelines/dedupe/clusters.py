"""Confirmed pairs become clusters; a cluster with two diagnoses is disputed; of the others one row or all stay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.catalog import LABEL_CONFLICT, CatalogRow, CopyRow, QuarantineRow
from schemas.duplicates import ClusterRow

DUPLICATE: Final = "near_duplicate"
"""Code of a row that shows the same picture as one that stays."""

_NAMED: Final = 5
"""Rows named in a message."""


@dataclass(frozen=True)
class Verdict:
    """What became of the rows that are in a cluster."""

    clusters: list[ClusterRow]
    quarantine: list[QuarantineRow]


def components(a: NDArray[np.integer[Any]], b: NDArray[np.integer[Any]], count: int) -> list[list[int]]:
    """Return the connected components of two or more of `count` nodes under the edges a-b, each sorted, in order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    found: dict[int, list[int]] = {}
    for node in np.unique(np.concatenate([a, b])).tolist():
        found.setdefault(int(label[node]), []).append(node)
    return sorted(found.values())


def judge(
    rows: Mapping[int, CatalogRow],
    groups: Sequence[Sequence[int]],
    policy: Literal["keep_one", "keep_all_one_split"],
    sources: Sequence[str],
    copies: Mapping[str, Sequence[CopyRow]],
) -> Verdict:
    """Return the members of every cluster, and a quarantine row for each that does not stay.

    `rows` are the catalog rows by place, at least of those in `groups`; `copies` the exact copies of those that one of
    them contradicts, by image_id. Of a cluster with one diagnosis the row stays whose source comes first in `sources`
    (those of params.yaml, in order), then by the publisher's row id, and with it the other photos of its series; with
    `keep_all_one_split` all stay, and the splits keep them together. A cluster with several diagnoses stays out whole.
    """
    clusters: list[ClusterRow] = []
    quarantine: list[QuarantineRow] = []
    place = {name: i for i, name in enumerate(sources)}
    for group in groups:
        members = sorted(
            (rows[i] for i in group), key=lambda r: (place.get(r.source, len(place)), r.source, r.source_row_id)
        )
        name = min(row.image_id for row in members)
        witnesses: list[CatalogRow | CopyRow] = [
            *members,
            *(copy for row in members for copy in copies.get(row.image_id, ())),
        ]
        disputed = len({row.lesion for row in witnesses}) > 1
        for row in members:
            kept = not disputed and (policy == "keep_all_one_split" or _stays(row, members[0]))
            named = {"image_id": row.image_id, "source": row.source, "source_row_id": row.source_row_id}
            clusters.append(ClusterRow(dup_cluster=name, kept=kept, **named))
            if not kept:
                quarantine.append(_refuse(row, witnesses, disputed))
    return Verdict(clusters, quarantine)


def _stays(row: CatalogRow, first: CatalogRow) -> bool:
    """Return whether a row is the first of its cluster or of one series with it.

    Photos of a series are never paired with each other, but a picture of another source may be near two of them.
    """
    return row is first or is_series(row, first)


def is_series(one: CatalogRow, other: CatalogRow) -> bool:
    """Return whether one source has both as photos of one lesion.

    Of two sources that share their ids, the same lesion may well be the same picture: neither says that it is not.
    """
    return one.source == other.source and one.lesion_id is not None and one.lesion_id == other.lesion_id


def _refuse(row: CatalogRow, witnesses: Sequence[CatalogRow | CopyRow], disputed: bool) -> QuarantineRow:
    if disputed:
        # First those that say otherwise: with many members the message must still name both sides.
        others = sorted((m for m in witnesses if m is not row), key=lambda m: m.lesion == row.lesion)
        named = ", ".join(f"{m.source} row {m.source_row_id} ({m.lesion.value})" for m in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        message = (
            f"{row.source} row {row.source_row_id} ({row.lesion.value}) shows the same picture as {named}{more}; one picture "
            "needs one diagnosis; correct or drop the wrong row in its source"
        )
    else:
        first = witnesses[0]
        message = (
            f"{row.source} row {row.source_row_id} shows the same picture as {first.source} row {first.source_row_id}, which "
            "stays; each picture enters once; drop one row, or set dedupe.policy: keep_all_one_split"
        )
    return QuarantineRow(
        source=row.source,
        source_row_id=row.source_row_id,
        code=LABEL_CONFLICT if disputed else DUPLICATE,
        message=message,
        raw=json.dumps(row.model_dump(mode="json"), ensure_ascii=False, sort_keys=True),
    )
