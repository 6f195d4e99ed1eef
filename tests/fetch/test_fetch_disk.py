"""A disk that fills while files arrive, and while tables are written: a real one, small, in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from bucket_server import S3
from hostile_server import HostileServer, answer, whole

from pipelines.fetch.source import fetch_source
from schemas.errors import DiskFullError
from schemas.location_params import Location, UrlList
from schemas.paths import Workspace
from schemas.table import write_bytes, write_table

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def files(place: Workspace) -> set[str]:
    return {p.relative_to(place.root).as_posix() for p in place.root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("stated", [True, False], ids=["length stated", "length not stated"])
def test_the_disk_fills_while_a_file_comes(small_disk: Path, web: HostileServer, stated: bool) -> None:
    place = Workspace(small_disk)
    big = os.urandom(3 * MIB)

    def unstated(handler: object, nth: int) -> None:
        handler.head(200, {"Connection": "close", "ETag": '"v"'})  # type: ignore[attr-defined]
        handler.wfile.write(big)  # type: ignore[attr-defined]

    web.serve("/small.jpg", whole(b"s" * MIB))
    web.serve("/big.jpg", answer(200, {"ETag": '"v"'}, big) if stated else unstated)
    (small_disk / "filler").write_bytes(b"f" * MIB)
    (small_disk / "source").mkdir()
    (small_disk / "source/t.csv").write_text(f"id,url\nsmall,{web.url}/small.jpg\nbig,{web.url}/big.jpg\n")
    urls = UrlList(table="t.csv", name="id", concurrency=1, per_host_per_s=100)
    with pytest.raises(DiskFullError) as caught:
        fetch_source(place, "s", Location(path="source", urls=urls))
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert "the disk is full" in message
    assert str(small_disk / "data/fetched") in message
    assert ("needs 3,145,728 bytes" if stated else "needs more room") in message
    kept = {"filler", "source/t.csv", "data/fetched/s/t.csv", "data/fetched/s/images/small.jpg"}
    assert files(place) == kept | {"data/fetched/.unfinished/s/journal.jsonl"}
    (small_disk / "filler").unlink()
    # Two MiB are still too little for three and one.
    (small_disk / "data/fetched/s/images/small.jpg").write_bytes(b"")
    web.serve("/small.jpg", whole(b"s"))
    result = fetch_source(place, "s", Location(path="source", urls=urls))
    assert (result.files, result.not_here) == (3, {})
    assert (small_disk / "data/fetched/s/images/big.jpg").read_bytes() == big


def test_a_bucket_that_cannot_fit_is_not_begun(small_disk: Path, s3: S3) -> None:
    bucket = s3.bucket()
    s3.put(bucket, {f"pad/{n}.bin": b"x" * MIB for n in range(5)})
    with pytest.raises(DiskFullError, match=r"needs 5,242,880 bytes"):
        fetch_source(Workspace(small_disk), "pad", s3.location(f"s3://{bucket}/pad"))
    assert files(Workspace(small_disk)) == set()
    assert not [line for line in s3.requests() if line.startswith(f"GET /{bucket}/pad/")]


def test_tables_and_texts_on_a_full_disk(small_disk: Path) -> None:
    (small_disk / "old.parquet").write_bytes(b"old")
    noise = pa.table({"bytes": [os.urandom(MIB) for _ in range(6)]})
    for write in (
        lambda path: write_table(noise, path),
        lambda path: write_bytes(os.urandom(6 * MIB), path),
    ):
        with pytest.raises(DiskFullError) as caught:
            write(small_disk / "old.parquet")
        assert "old.parquet: the disk is full" in str(caught.value)
        assert {p.name for p in small_disk.iterdir()} == {"old.parquet"}
        assert (small_disk / "old.parquet").read_bytes() == b"old"
