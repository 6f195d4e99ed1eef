"""Summaries as plain data and as Markdown."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flows.records import (
    Failure,
    forget_record,
    markdown,
    plain,
    read_record,
    take_failure,
    write_failure,
    write_record,
)
from schemas.paths import Workspace
from schemas.words import Lesion


@dataclass
class Cell:
    lesion: Lesion
    count: np.int64
    score: float
    folder: Path


GOLDEN = """\
**produce**: 3 of 4 made

|  |  |
| --- | --- |
| seconds | 0.0 |

|  |  |
| --- | --- |
| shortfall | 1 |
| note | a\\|b |

### totals

|  |  |
| --- | --- |
| quota | 4 |
| share | 0.3333 |

### strata

| lesion | count |
| --- | --- |
| nevus | 2 |
| melanoma |  |"""


def test_markdown_of_a_record_is_tables(tmp_path: Path) -> None:
    summary = {
        "shortfall": 1,
        "note": "a|b",
        "totals": {"quota": 4, "share": 1 / 3},
        "strata": [{"lesion": Lesion.NEVUS, "count": 2}, {"lesion": Lesion.MELANOMA, "count": None}],
    }
    record = write_record(Workspace(tmp_path), "produce", "3 of 4 made", summary, time.time())
    assert markdown(record) == GOLDEN


def test_plain_takes_what_results_are_made_of() -> None:
    value = plain({"cell": Cell(Lesion.NEVUS, np.int64(3), float("nan"), Path("a/b")), "set": frozenset({1})})
    assert value == {"cell": {"lesion": "nevus", "count": 3, "score": None, "folder": "a/b"}, "set": [1]}


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(JSONISH)
def test_plain_is_always_strict_json(value: object) -> None:
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == plain(value)


def test_record_and_failure_are_kept_and_dropped(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert read_record(workspace, "train@gan") is None
    written = write_record(workspace, "train@gan", "done", {"n": 1}, time.time())
    assert read_record(workspace, "train@gan") == written
    forget_record(workspace, "train@gan")
    assert read_record(workspace, "train@gan") is None
    write_failure(workspace, Failure(stage="ingest", exit_code=2, message="no"))
    assert take_failure(workspace, "validate") is None, "another stage's line is not this one's"
    write_failure(workspace, Failure(stage="ingest", exit_code=2, message="no"))
    assert take_failure(workspace, "ingest") == Failure(stage="ingest", exit_code=2, message="no")
    assert take_failure(workspace, "ingest") is None
