"""A source in a bucket of a real S3 server."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig
from bucket_server import ROOT, S3, load_server

from pipelines.fetch.partial import Partial
from pipelines.fetch.source import FetchResult, fetch_source
from schemas.errors import SourceError
from schemas.fetch import FetchedRow, FetchStatus
from schemas.location_params import Location
from schemas.paths import Workspace
from schemas.table import read_rows

FILES = {"metadata.csv": b"img_id\na\n", "images/a.png": b"a" * 5000, "images/more/b c é.png": b"b" * 70_000}
BIG = random.Random(3).randbytes(6 << 20)

Keys = Callable[[str | None, str | None], None]


def mirror_files(place: Workspace) -> dict[str, bytes]:
    root = place.fetched("pad")
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def manifest(place: Workspace) -> dict[str, FetchedRow]:
    return {row.name: row for row in read_rows(place.fetched_manifest("pad"), FetchedRow)}


def filled(s3: S3) -> tuple[str, Location]:
    bucket = s3.bucket()
    s3.put(bucket, {f"sets/pad/{name}": body for name, body in FILES.items()})
    s3.put(bucket, {"sets/pad/": b"", "sets/pad2/no.png": b"another source", "top.txt": b"not of it"})
    return bucket, s3.location(f"s3://{bucket}/sets/pad")


def gets(s3: S3, since: int) -> list[str]:
    """Objects asked for since that many requests."""
    return [line for line in s3.requests()[since:] if line.startswith("GET /b") and "list-type" not in line]


def test_a_prefix_is_mirrored(s3: S3, place: Workspace) -> None:
    _, location = filled(s3)
    result = fetch_source(place, "pad", location)
    assert mirror_files(place) == FILES
    assert result == FetchResult("pad", 3, 3, sum(map(len, FILES.values())), 3, 0, {})
    rows = manifest(place)
    assert {n: r.sha256 for n, r in rows.items()} == {n: hashlib.sha256(b).hexdigest() for n, b in FILES.items()}
    assert rows["images/a.png"].etag == f'"{hashlib.md5(FILES["images/a.png"]).hexdigest()}"'


def test_again_only_lists(s3: S3, place: Workspace) -> None:
    _, location = filled(s3)
    fetch_source(place, "pad", location)
    before, written = len(s3.requests()), place.fetched_manifest("pad").stat().st_mtime_ns
    assert fetch_source(place, "pad", location).came == 0
    assert gets(s3, before) == []
    assert len(s3.requests()) == before + 1
    assert place.fetched_manifest("pad").stat().st_mtime_ns == written


def test_changed_new_and_removed_objects(s3: S3, place: Workspace) -> None:
    bucket, location = filled(s3)
    fetch_source(place, "pad", location)
    s3.put(bucket, {"sets/pad/images/a.png": b"A" * 5000, "sets/pad/images/new.png": b"n"})
    s3.client.delete_object(Bucket=bucket, Key="sets/pad/images/more/b c é.png")
    before = len(s3.requests())
    result = fetch_source(place, "pad", location)
    assert (result.named, result.came, result.removed) == (3, 2, 1)
    assert len(gets(s3, before)) == 2
    assert mirror_files(place) == {
        "metadata.csv": FILES["metadata.csv"], "images/a.png": b"A" * 5000, "images/new.png": b"n"
    }  # fmt: skip
    gone = manifest(place)["images/more/b c é.png"]
    assert (gone.status, gone.bytes) == (FetchStatus.REMOVED, 70_000)
    assert not (place.fetched("pad") / "images/more").exists()


def test_an_object_in_parts_is_gone_on_with(s3: S3, place: Workspace) -> None:
    bucket = s3.bucket()
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.client.upload_fileobj(BytesIO(BIG), bucket, "pad/big.bin", Config=parts)
    etag = s3.client.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"]
    assert etag.endswith('-2"')
    half = Partial(place.fetching("pad"), "big.bin", f"s3://{bucket}/pad/big.bin")
    half.start(etag)
    half.path.write_bytes(BIG[: 4 << 20])
    before = len(s3.requests())
    fetch_source(place, "pad", s3.location(f"s3://{bucket}/pad"))
    assert mirror_files(place) == {"big.bin": BIG}
    assert [line.split('" ')[1].split()[:2] for line in gets(s3, before)] == [["206", str(2 << 20)]]


def test_the_half_of_another_version_is_not_used(s3: S3, place: Workspace) -> None:
    bucket, location = filled(s3)
    half = Partial(place.fetching("pad"), "images/a.png", f"s3://{bucket}/sets/pad/images/a.png")
    half.start('"00000000000000000000000000000000"')
    half.path.write_bytes(b"z" * 100)
    fetch_source(place, "pad", location)
    assert mirror_files(place) == FILES


def test_an_object_that_changes_after_the_listing_comes_whole(s3: S3, place: Workspace) -> None:
    from pipelines.fetch.crowd import Stop
    from pipelines.fetch.mirror import Mirror
    from pipelines.fetch.s3 import Bucket

    bucket, location = filled(s3)
    mirror = Mirror(place, "pad")
    reader = Bucket("pad", location, mirror, Stop())
    listed = {t.name: t for t in reader.listing()}
    s3.put(bucket, {"sets/pad/images/a.png": b"later"})
    s3.client.delete_object(Bucket=bucket, Key="sets/pad/metadata.csv")
    row = reader.fetch(listed["images/a.png"])
    assert (row.bytes, mirror.path("images/a.png").read_bytes()) == (5, b"later")
    gone = reader.fetch(listed["metadata.csv"])
    assert (gone.status, gone.reason) == (FetchStatus.REMOVED, "listed, but gone when it was asked for")


def test_a_damaged_object_never_enters(s3: S3, place: Workspace) -> None:
    bucket = s3.bucket()
    s3.put(bucket, {"pad/a.bin": BIG[:100_000], "pad/b.bin": b"b"})
    stored = [p for p in s3.folder.glob("disks/d1/objects/**/*.data") if p.stat().st_size == 100_000]
    for path in stored:
        data = bytearray(path.read_bytes())
        data[50_000] ^= 1
        with path.open("r+b") as handle:
            handle.write(data)
    assert stored
    # Swift itself finds the damage when it has sent all, and hides the object from then on.
    with suppress(SourceError):
        fetch_source(place, "pad", s3.location(f"s3://{bucket}/pad"))
    assert "a.bin" not in mirror_files(place)


def test_keys_that_are_no_file_names_are_rows_with_a_reason(s3: S3, place: Workspace) -> None:
    bucket = s3.bucket()
    s3.put(bucket, {"pad/ok": b"1", "pad/a//b": b"2", "pad/c\\d": b"3", "pad/e": b"4", "pad/e/f": b"5"})
    result = fetch_source(place, "pad", s3.location(f"s3://{bucket}/pad"))
    assert mirror_files(place) == {"ok": b"1", "e/f": b"5"}
    assert {n: r.reason for n, r in manifest(place).items() if r.status is FetchStatus.REFUSED} == {
        "a//b": "its name leads out of the folder or is no path",
        "c\\d": "its name holds a backslash or control character",
        "e": "its name is a folder's too",
    }
    assert sum(result.not_here.values()) == 3


def refusal(place: Workspace, location: Location) -> str:
    with pytest.raises(SourceError) as caught:
        fetch_source(place, "pad", location)
    assert caught.value.exit_code == 2
    assert not list(place.root.iterdir()), "nothing is written"
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message.replace("its secret", "").replace("the secret", "")
    return message


def test_what_is_wrong_is_said_in_one_line(s3: S3, place: Workspace, keys: Keys) -> None:
    bucket, location = filled(s3)
    assert "there is no such bucket" in refusal(place, s3.location("s3://nowhere-at-all/pad"))
    assert "holds no object" in refusal(place, s3.location(f"s3://{bucket}/sets/ham"))
    dead = Location(path=location.path, endpoint_url="http://127.0.0.1:1", region="us-east-1")
    assert "no answer (EndpointConnectionError)" in refusal(place, dead)
    keys(s3.told["stranger_key_id"], s3.told["stranger_secret"])
    assert "access denied" in refusal(place, location)
    keys(s3.told["access_key_id"], "wrong")
    assert "the secret does not go with the key" in refusal(place, location)
    keys("nobody:nobody", "wrong")
    assert "set AWS_" in refusal(place, location)
    keys(None, None)
    assert "Unable to locate credentials; needs credentials" in refusal(place, location)


def test_a_bucket_that_is_empty_overnight_changes_nothing(s3: S3, place: Workspace) -> None:
    bucket, location = filled(s3)
    fetch_source(place, "pad", location)
    for name in [*FILES, ""]:
        s3.client.delete_object(Bucket=bucket, Key=f"sets/pad/{name}")
    with pytest.raises(SourceError, match="holds no object"):
        fetch_source(place, "pad", location)
    assert mirror_files(place) == FILES


def test_a_mirror_that_is_a_link_is_refused(s3: S3, place: Workspace, tmp_path: Path) -> None:
    from schemas.errors import WorkspaceError

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/mine.txt").write_text("mine")
    place.fetched("pad").parent.mkdir(parents=True)
    place.fetched("pad").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkspaceError, match="is a link"):
        fetch_source(place, "pad", filled(s3)[1])
    assert (tmp_path / "elsewhere/mine.txt").is_file()


def test_the_server_ends_with_the_run_that_started_it(tmp_path: Path) -> None:
    server = load_server()
    if missing := server.missing_programs():
        pytest.skip(f"no {', '.join(missing)} here; infra/s3/server.py says how to install them")
    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import server as s\n"
        "folder = Path(sys.argv[2]); s.start(folder); s.guard(folder); print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(ROOT / "infra/s3"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        pids = json.loads((tmp_path / "pids.json").read_text()).values()
        run.kill()
    deadline = time.monotonic() + 20
    while (tmp_path / "pids.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (tmp_path / "pids.json").exists()
    # A process that ended may wait to be collected by the machine's first one.
    stats = [Path(f"/proc/{pid}/stat") for pid in pids]
    assert {s.read_text().rpartition(")")[2].split()[0] for s in stats if s.exists()} <= {"Z"}
