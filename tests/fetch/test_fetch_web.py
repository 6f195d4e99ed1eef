"""Images by URL, from a server that does everything wrong that servers do."""

from __future__ import annotations

import gzip
import hashlib
import time
from typing import Any

import pytest
from hostile_server import HostileServer, Reply, answer, hostile_server, in_order, ranged, redirect, stalling, whole
from linked import BODY, fetch, here, one

from schemas.errors import SourceError
from schemas.fetch import FetchStatus
from schemas.paths import Workspace


def test_a_file_arrives_with_its_digest_and_the_name_of_who_asked(place: Workspace, web: HostileServer) -> None:
    dated = {"ETag": '"x"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    row = one(place, web, answer(200, dated, BODY))
    assert here(place) == BODY
    assert row.status is FetchStatus.FETCHED
    assert (row.bytes, row.etag, row.attempts) == (len(BODY), '"x"', 1)
    assert row.sha256 == hashlib.sha256(BODY).hexdigest()
    assert (place.fetched("fitz") / "images/a.jpg").stat().st_mtime == 1445412480
    assert (web.asked[0].agent or "").startswith("equiderm")
    assert not place.fetching("fitz").exists()


@pytest.mark.parametrize(
    ("reply", "reason", "asked"),
    [
        (answer(404), "404 Not Found", 1),
        (answer(410), "410 Gone", 1),
        (answer(403), "403 Forbidden", 1),
        (answer(204), "204 No Content", 1),
        (answer(500), "500 Internal Server Error", 3),
        (answer(503, {"Retry-After": "0"}), "503 Service Unavailable", 3),
        (ranged(BODY, cuts=(10, 10, 10)), "connection lost before the end", 3),
        (answer(200, {"Content-Length": len(BODY) + 9}), "stalled", 3),
        (redirect("/a.jpg"), "more than 5 redirects", 6),
        (redirect("ftp://example.org/a.jpg"), "address is ftp:; needs http or https", 1),
        (redirect("file:///etc/passwd"), "address is file:; needs http or https", 1),
        (whole(BODY), "300,000 bytes; urls.max_bytes is 299,999", 1),
        (lambda handler, nth: handler.cut(), "connection lost before the end", 3),
        (answer(206, {"Content-Range": f"bytes 0-1/{'9' * 5000}"}), "answered with another part than asked for", 3),
        (answer(503, {"Retry-After": f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT"}), "503 Service Unavailable", 3),
    ],
)
def test_a_broken_link_is_a_row_with_a_reason(
    place: Workspace, web: HostileServer, reply: Reply, reason: str, asked: int
) -> None:
    web.serve("/ok.jpg", whole(b"ok"))
    links = {"ok": web.url + "/ok.jpg", "a": web.serve("/a.jpg", reply)}
    limit = {"max_bytes": 299_999} if "max_bytes" in reason else {}
    result, rows = fetch(place, links, **limit)
    row = rows["images/a.jpg"]
    assert (row.status, row.reason, row.sha256) == (FetchStatus.FAILED, reason, None)
    assert web.times("/a.jpg") == asked
    assert not (place.fetched("fitz") / "images/a.jpg").exists()
    assert here(place, "images/ok.jpg") == b"ok"
    assert (result.named, result.files, result.came, result.not_here) == (3, 2, 2, {reason: 1})


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 31 Dec 9999 23:59:59 -0100",  # in UTC it is the year 10000, which no datetime holds
        "Fri, 31 Dec 9999 23:59:59 GMT",  # no file system holds it, so that the file would never look fetched
        f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT",
        "Fri, 31 Dec 2021 23:59:59 -9999",
        "yesterday",
        "",
    ],
)
def test_a_date_that_cannot_be_used_is_no_date(place: Workspace, web: HostileServer, date: str) -> None:
    links = {"a": web.serve("/a.jpg", whole(BODY, Last_Modified=date))}
    row = fetch(place, links)[1]["images/a.jpg"]
    assert (row.status, row.modified) == (FetchStatus.FETCHED, None)
    assert here(place) == BODY
    fetch(place, links)
    assert web.times("/a.jpg") == 1


@pytest.mark.parametrize(
    "told", [{"ETag": '"v1"', "Content-Length": len(BODY)}, {"Connection": "close"}], ids=["version", "neither"]
)
def test_two_images_of_one_address_both_come_whole(place: Workspace, web: HostileServer, told: dict[str, Any]) -> None:
    def slow(handler: Any, nth: int) -> None:
        handler.head(200, told)
        handler.wfile.write(BODY[:100_000])
        handler.wfile.flush()
        time.sleep(0.2 * min(nth, 2))  # the first is finished while the second is half here
        handler.wfile.write(BODY[100_000:])

    address = web.serve("/x.jpg", slow)
    result, rows = fetch(place, {"a": address, "b": address}, stall_s=10)
    assert (result.files, result.not_here) == (3, {})
    for name in ("images/a.jpg", "images/b.jpg"):
        assert rows[name].sha256 == hashlib.sha256(BODY).hexdigest()
        assert here(place, name) == BODY


def test_a_body_without_a_length_is_limited_too(place: Workspace, web: HostileServer) -> None:
    def endless(handler: Any, nth: int) -> None:
        handler.head(200, {"Connection": "close"})
        for _ in range(1000):
            handler.wfile.write(b"x" * 10_000)

    row = one(place, web, endless, max_bytes=50_000)
    assert row.reason == "more than 50,000 bytes; urls.max_bytes is 50,000"


def test_500_then_the_file(place: Workspace, web: HostileServer) -> None:
    row = one(place, web, in_order(answer(500), answer(502), whole(BODY)))
    assert here(place) == BODY
    assert row.attempts == 3


def test_429_is_heeded_by_all_workers(place: Workspace, web: HostileServer) -> None:
    busy = in_order(answer(429, {"Retry-After": "1"}), whole(b"a"))
    links = {"a": web.serve("/a.jpg", busy)} | {f"b{n}": web.serve(f"/b{n}.jpg", whole(b"b")) for n in range(3)}
    fetch(place, links, concurrency=1)
    again = [a.at for a in web.asked if a.path == "/a.jpg"]
    others = [a.at for a in web.asked if a.path != "/a.jpg"]
    assert again[1] - again[0] >= 0.95
    assert min(others) - again[0] >= 0.95, "another file of that host was asked for meanwhile"


def test_a_host_that_asks_for_a_long_wait_is_left_alone(place: Workspace, web: HostileServer) -> None:
    busy = answer(503, {"Retry-After": "86400"})
    links = {n: web.serve(f"/{n}.jpg", busy) for n in ("a", "b", "c")}
    _, rows = fetch(place, links, concurrency=1)
    assert len(web.asked) == 1
    reasons = {rows[f"images/{n}.jpg"].reason for n in links}
    assert all("asks for a wait longer than urls.max_wait_s, 5 s" in (r or "") for r in reasons)


def test_redirects_are_followed(place: Workspace, web: HostileServer) -> None:
    web.serve("/b.jpg", redirect("/c.jpg", 301))
    web.serve("/c.jpg", whole(BODY))
    one(place, web, redirect("/b.jpg"))
    assert here(place) == BODY


def test_a_cut_file_is_gone_on_with(place: Workspace, web: HostileServer) -> None:
    row = one(place, web, ranged(BODY, cuts=(100_000, 50_000)))
    assert here(place) == BODY
    assert row.attempts == 3
    starts = [int(a.range.removeprefix("bytes=").rstrip("-")) for a in web.asked if a.range]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] <= 150_000
    assert {a.if_range for a in web.asked if a.range} == {'"v1"'}


def test_a_stalled_file_is_gone_on_with(place: Workspace, web: HostileServer) -> None:
    one(place, web, in_order(stalling(web, BODY, 200_000), ranged(BODY)))
    assert here(place) == BODY
    assert web.asked[1].range is not None


def test_another_version_midway_is_fetched_whole(place: Workspace, web: HostileServer) -> None:
    newer = BODY[::-1]
    row = one(place, web, in_order(ranged(BODY, '"v1"', (100_000,)), ranged(newer, '"v2"')))
    assert here(place) == newer
    assert row.etag == '"v2"'


def test_another_version_from_a_server_that_ignores_if_range(place: Workspace, web: HostileServer) -> None:
    def careless(handler: Any, nth: int) -> None:
        del handler.headers["If-Range"]
        ranged(BODY[::-1], '"v2"')(handler, nth)

    one(place, web, in_order(ranged(BODY, '"v1"', (100_000,)), careless))
    assert here(place) == BODY[::-1]


def test_a_server_without_ranges_or_versions_starts_again(place: Workspace, web: HostileServer) -> None:
    def cut(handler: Any, nth: int) -> None:
        handler.head(200, {"Content-Length": len(BODY)})
        handler.wfile.write(BODY[:1000])
        handler.cut()

    one(place, web, in_order(cut, whole(BODY)))
    assert here(place) == BODY
    assert [a.range for a in web.asked] == [None, None]


def test_a_compressed_answer_is_unpacked(place: Workspace, web: HostileServer) -> None:
    one(place, web, whole(gzip.compress(BODY), Content_Encoding="gzip", ETag='"z"'))
    assert here(place) == BODY


def test_nothing_is_asked_again(place: Workspace, web: HostileServer) -> None:
    links = {"a": web.serve("/a.jpg", whole(BODY)), "b": web.serve("/b.jpg", answer(404))}
    fetch(place, links)
    manifest = place.fetched_manifest("fitz")
    before = (len(web.asked), manifest.stat().st_mtime_ns)
    result, _ = fetch(place, links)
    assert (len(web.asked), manifest.stat().st_mtime_ns) == before
    assert (result.files, result.came, result.not_here) == (2, 0, {"404 Not Found": 1})
    web.serve("/b.jpg", whole(b"b"))
    assert fetch(place, links, retry_failed_hours=0)[0].came == 1
    assert web.times("/a.jpg") == 1


def test_a_file_that_was_touched_is_fetched_again(place: Workspace, web: HostileServer) -> None:
    links = {"a": web.serve("/a.jpg", whole(BODY))}
    fetch(place, links)
    (place.fetched("fitz") / "images/a.jpg").write_bytes(BODY[::-1])
    assert fetch(place, links)[0].came == 1
    assert here(place) == BODY


def test_a_row_that_left_the_table_is_removed_and_counted(place: Workspace, web: HostileServer) -> None:
    links = {n: web.serve(f"/{n}.jpg", whole(n.encode())) for n in ("a", "b")}
    fetch(place, links)
    (place.fetched("fitz") / "images/stranger.jpg").write_bytes(b"?")
    del links["b"]
    result, rows = fetch(place, links)
    assert (result.removed, result.named) == (1, 2)
    assert rows["images/b.jpg"].status is FetchStatus.REMOVED
    assert rows["images/b.jpg"].sha256 == hashlib.sha256(b"b").hexdigest(), "what it was stays on record"
    assert sorted(p.name for p in place.fetched("fitz").rglob("*.jpg")) == ["a.jpg"]


@pytest.mark.parametrize(
    ("name", "url", "reason"),
    [
        ("../../evil", "http://127.0.0.1:1/x", "its name leads out of the folder or is no path"),
        ("a/b", "http://127.0.0.1:1/x", "its name leads out of the folder or is no path"),
        ("a\\b", "http://127.0.0.1:1/x", "its name holds a backslash or control character"),
        ("x" * 250, "http://127.0.0.1:1/x", "its name is longer than a file system takes"),
        ("a", "file:///etc/passwd", "its address is file:; only http and https are asked"),
        ("a", "ftp://example.org/x", "its address is ftp:; only http and https are asked"),
        ("a", "", "the table names no address for it"),
        ("a", "http://[::1", "its address cannot be read"),
    ],
)
def test_what_is_never_asked_for(place: Workspace, web: HostileServer, name: str, url: str, reason: str) -> None:
    outside = sorted(p for p in place.root.parent.rglob("*"))
    result, rows = fetch(place, {"ok": web.serve("/ok.jpg", whole(b"ok")), name: url})
    row = rows[f"images/{name}.jpg"]
    assert (row.status, row.reason, row.attempts) == (FetchStatus.REFUSED, reason, 0)
    assert result.not_here == {reason: 1}
    new = set(place.root.parent.rglob("*")) - set(outside)
    assert all(p.is_relative_to(place.root) for p in new)


def test_a_machine_without_a_network_calls_no_link_broken(place: Workspace) -> None:
    links = {n: f"http://127.0.0.1:1/{n}.jpg" for n in ("a", "b")}
    with pytest.raises(SourceError) as caught:
        fetch(place, links)
    assert "none of 2 addresses gave any answer" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not place.fetched_manifest("fitz").exists()


def test_a_dead_host_is_given_up(place: Workspace, web: HostileServer) -> None:
    links = {"ok": web.serve("/ok.jpg", whole(b"ok"))} | {f"d{n}": f"http://127.0.0.1:1/{n}.jpg" for n in range(30)}
    _, rows = fetch(place, links, concurrency=2)
    reasons = [row.reason or "" for row in rows.values() if row.status is FetchStatus.FAILED]
    assert len(reasons) == 30
    assert sum("gave no answer 20 times in a row" in reason for reason in reasons) >= 20


def test_one_host_is_asked_at_its_rate_and_few_at_once(place: Workspace, web: HostileServer) -> None:
    def slow(handler: Any, nth: int) -> None:
        time.sleep(0.15)
        whole(b"x")(handler, nth)

    links = {f"f{n}": web.serve(f"/{n}.jpg", slow) for n in range(9)}
    fetch(place, links, per_host_per_s=25, concurrency=2)
    times = sorted(a.at for a in web.asked)
    assert times[-1] - times[0] >= 8 / 25 - 0.05
    assert web.open_most == 2


def test_two_hosts_do_not_wait_for_each_other(place: Workspace, web: HostileServer) -> None:
    with hostile_server() as second:
        links = {f"a{n}": web.serve(f"/{n}.jpg", whole(b"x")) for n in range(4)}
        links |= {f"b{n}": second.serve(f"/{n}.jpg", whole(b"x")) for n in range(4)}
        began = time.monotonic()
        fetch(place, links, per_host_per_s=4, concurrency=4)
        assert time.monotonic() - began < 1.6, "4 turns at 4/s are 0.75 s for each host, together or not"
