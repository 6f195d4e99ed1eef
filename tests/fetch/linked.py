"""A table of links fetched from a hostile server, and what came of it."""

from __future__ import annotations

import os
import random
from typing import Any

from hostile_server import HostileServer, Reply

from pipelines.fetch.source import FetchResult, fetch_source
from schemas.fetch import FetchedRow
from schemas.location_params import Location, UrlList
from schemas.paths import Workspace
from schemas.table import read_rows

BODY = random.Random(1).randbytes(300_000)
QUICK: dict[str, Any] = {"per_host_per_s": 1000, "stall_s": 0.5, "attempts": 3, "max_wait_s": 5}


def listed(place: Workspace, links: dict[str, str]) -> None:
    folder = place.root / "source"
    folder.mkdir(exist_ok=True)
    lines = ["md5hash,url", *(f"{name},{url}" for name, url in links.items())]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    os.utime(folder / "table.csv", (1e9, 1e9))


def fetch(place: Workspace, links: dict[str, str], **more: Any) -> tuple[FetchResult, dict[str, FetchedRow]]:
    listed(place, links)
    urls = UrlList(table="table.csv", name="md5hash", **{**QUICK, **more})
    result = fetch_source(place, "fitz", Location(path="source", urls=urls))
    rows = {row.name: row for row in read_rows(place.fetched_manifest("fitz"), FetchedRow)}
    return result, rows


def one(place: Workspace, web: HostileServer, reply: Reply, **more: Any) -> FetchedRow:
    return fetch(place, {"a": web.serve("/a.jpg", reply)}, **more)[1]["images/a.jpg"]


def here(place: Workspace, name: str = "images/a.jpg") -> bytes:
    return (place.fetched("fitz") / name).read_bytes()
