"""Fetching that is killed or cut anywhere, and names and waits of any kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_server import HostileServer, hostile_server, in_order, ranged, stalling, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from linked import BODY, fetch, here, listed, one

from pipelines.fetch.mirror import Mirror, unsafe
from pipelines.fetch.pace import asked_to_wait
from schemas.fetch import FetchStatus
from schemas.paths import Workspace

KILLED = """
import sys
from pathlib import Path
from pipelines.fetch.source import fetch_source
from schemas.location_params import Location, UrlList
from schemas.paths import Workspace
urls = UrlList(table="table.csv", name="md5hash", per_host_per_s=1000, concurrency=2, stall_s=60)
fetch_source(Workspace(Path(sys.argv[1])), "fitz", Location(path="source", urls=urls))
"""


def test_kill_minus_9_half_way_and_go_on(place: Workspace, web: HostileServer, checkout: Path) -> None:
    small = {f"s{n}": web.serve(f"/{n}.jpg", whole(str(n).encode())) for n in range(12)}
    links = {**small, "big": web.serve("/big.jpg", in_order(stalling(web, BODY, 250_000), ranged(BODY)))}
    listed(place, links)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(place.root)], cwd=checkout)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            done = len(Mirror(place, "fitz").rows)
            partial = [p for p in place.fetching("fitz").glob("*.partial") if p.stat().st_size > 100_000]
            if done == 13 and partial:  # the table and twelve images
                break
            time.sleep(0.05)
        else:
            pytest.fail("never came half way")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not place.fetched_manifest("fitz").exists()
    with (place.fetching("fitz") / "journal.jsonl").open("ab") as handle:
        handle.write(b'{"name": "images/torn')
    result, rows = fetch(place, links)
    assert all(web.times(f"/{n}.jpg") == 1 for n in range(12)), "a file that was here was fetched again"
    assert here(place, "images/big.jpg") == BODY
    assert int((web.asked[-1].range or "bytes=0-").removeprefix("bytes=").rstrip("-")) > 100_000
    assert (result.files, result.came) == (14, 1)
    assert all(row.status is FetchStatus.FETCHED for row in rows.values())


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 4000), max_size=5), size=st.integers(0, 5000))
def test_however_it_is_cut_the_bytes_are_the_same(
    cuts: list[int], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = Workspace(tmp_path_factory.mktemp("cut"))
    with hostile_server() as web:
        one(place, web, ranged(BODY[:size], cuts=tuple(cuts)), attempts=20)
    assert here(place) == BODY[:size]


@given(st.text(max_size=40) | st.from_regex(r"[./\\a]{1,12}", fullmatch=True))
def test_a_safe_name_stays_inside(name: str) -> None:
    root = Path("base/mirror")
    if unsafe(name) is None:
        assert os.path.normpath(root / name).startswith("base/mirror" + os.sep)


@given(st.text(max_size=40) | st.integers(-5, 10**12).map(str))
def test_any_retry_after_is_seconds_or_nothing(text: str) -> None:
    seconds = asked_to_wait(text)
    assert seconds is None or seconds >= 0
