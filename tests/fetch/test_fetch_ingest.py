"""From a bucket and from links to the catalog and the quarantine, by the functions and by the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from bucket_server import S3
from hostile_server import HostileServer, answer, whole
from PIL import Image

from pipelines.fetch.source import fetch_source
from pipelines.ingest.plan import plan_shards
from pipelines.ingest.settle import settle_catalog
from pipelines.ingest.shard import ingest_shard
from pipelines.sources.fingerprint import write_fingerprint
from schemas.catalog import CatalogRow, QuarantineRow
from schemas.errors import ParamsError, SourceError
from schemas.params import Params, parse_params
from schemas.paths import Workspace
from schemas.table import read_rows

COLUMNS = ("patient_id", "lesion_id", "age", "gender", "fitspatrick", "region", "diagnostic", "img_id", "url")


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def table(urls: dict[str, str]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for number, (name, url) in enumerate(urls.items()):
        writer.writerow([f"P{number}", number, 47, "FEMALE", "3.0", "NOSE", "NEV", name, url])
    return out.getvalue().encode()


def with_source(**source: object) -> Params:
    data = {"sources": {"use": {"pad": {"adapter": "pad_ufes_20", **source}}}, "ingest": {"resolution": 16}}
    return parse_params(data, "params.yaml")


def ingest(place: Workspace, params: Params) -> tuple[list[CatalogRow], dict[str, QuarantineRow]]:
    write_fingerprint(place, params)
    for plan in plan_shards(place, params):
        ingest_shard(place, params, plan)
    settle_catalog(place, params)
    quarantine = read_rows(place.quarantine, QuarantineRow)
    return read_rows(place.catalog, CatalogRow), {row.source_row_id: row for row in quarantine}


def test_a_broken_link_is_a_quarantine_row(place: Workspace, web: HostileServer) -> None:
    links = {
        "a.png": web.serve("/1", whole(png(1))),
        "b.png": web.serve("/2", whole(png(2))),
        "gone.png": web.serve("/3", answer(404)),
        "page.png": web.serve("/4", whole(b"<html>not found</html>")),
        "none.png": "",
        "local.png": "file:///etc/hostname",
    }
    (place.root / "pad").mkdir()
    (place.root / "pad/metadata.csv").write_bytes(table(links))
    urls = {"table": "metadata.csv", "name": "img_id", "ending": "", "per_host_per_s": 100}
    params = with_source(path="pad", urls=urls)
    source = params.sources.use["pad"]
    with pytest.raises(SourceError, match="was not fetched yet; needs the stage `sources`"):
        write_fingerprint(place, params)
    fetch_source(place, "pad", source)  # type: ignore[arg-type]
    catalog, quarantine = ingest(place, params)
    assert {row.source_row_id for row in catalog} == {"a.png", "b.png"}
    assert {name: row.code for name, row in quarantine.items()} == {
        "gone.png": "url_broken", "page.png": "not_an_image", "none.png": "url_broken", "local.png": "url_broken",
    }  # fmt: skip
    assert quarantine["gone.png"].message == (
        f"{web.url}/3: 404 Not Found; needs the image; correct the address or read a local folder that has it"
    )
    found = json.loads(place.sources.read_text())["sources"]["pad"]["fetched"]
    assert (found["named"], found["not_here"]["404 Not Found"]) == (7, 1)
    # A link that is mended changes the fingerprint, and so the catalog.
    web.serve("/3", whole(png(3)))
    before = place.sources.read_bytes()
    params = with_source(path="pad", urls={**urls, "retry_failed_hours": 0})
    fetch_source(place, "pad", params.sources.use["pad"])  # type: ignore[arg-type]
    assert {row.source_row_id for row in ingest(place, params)[0]} == {"a.png", "b.png", "gone.png"}
    assert place.sources.read_bytes() != before


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "s3://"}, "names no bucket; it needs s3://bucket/prefix"),
        ({"path": "s3://key:secret@bucket/x"}, "without credentials in it"),
        ({"path": "https://example.org/x"}, "is not a folder; it needs a folder or s3://bucket/prefix"),
        ({"path": "pad", "endpoint_url": "http://x"}, "go with a path that begins with s3://"),
        ({"path": "s3://abc", "endpoint_url": "ftp://x"}, "needs to be http(s)://host:port"),
        ({"path": "s3://abc", "endpoint_url": "http://k:s@x"}, "without credentials in it"),
        ({"path": "s3://abc", "aws_secret_access_key": "x"}, "unknown key sources.use.pad.aws_secret_access_key"),
        ({"path": "x", "urls": {"table": "../t.csv", "name": "a"}}, "plain name without a path"),
        ({"path": "x", "urls": {"table": "t.csv", "name": "a", "ending": "/../x"}}, "an ending such as .jpg"),
    ],
)
def test_a_location_said_wrong(source: dict[str, object], said: str) -> None:
    with pytest.raises(ParamsError) as caught:
        with_source(**source)
    assert said in str(caught.value)


def test_a_table_of_addresses_that_is_a_link_out_is_not_mirrored(place: Workspace, web: HostileServer) -> None:
    (place.root / "elsewhere").mkdir()
    (place.root / "elsewhere/metadata.csv").write_bytes(table({"a.png": web.serve("/1", whole(png(1)))}))
    (place.root / "pad").mkdir()
    (place.root / "pad/metadata.csv").symlink_to("../elsewhere/metadata.csv")
    given = {"path": "pad", "urls": {"table": "metadata.csv", "name": "img_id", "ending": "", "per_host_per_s": 100}}
    with pytest.raises(SourceError) as caught:
        fetch_source(place, "pad", with_source(**given).sources.use["pad"])  # type: ignore[arg-type]
    assert str(caught.value) == (
        "sources.use.pad: metadata.csv leads out of pad; needs a file within it; copy it there, or set links: anywhere"
    )
    assert not (place.root / "data").exists()
    assert not web.asked
    allowed = with_source(**given, links="anywhere").sources.use["pad"]
    assert fetch_source(place, "pad", allowed).files == 2  # type: ignore[arg-type]


def test_a_bucket_by_hand(s3: S3, workspace: Path) -> None:
    """As `dvc repro` and the stage's own command run it."""
    bucket = s3.bucket()
    names = [f"{n}.png" for n in range(4)]
    s3.put(bucket, {"pad/metadata.csv": table(dict.fromkeys([*names, "absent.png"], ""))})
    s3.put(bucket, {f"pad/images/{name}": png(n) for n, name in enumerate(names)})
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    pad = {"adapter": "pad_ufes_20", "path": f"s3://{bucket}/pad", "endpoint_url": s3.told["endpoint_url"]}
    params["sources"]["use"]["pad"] = pad
    # One of four files will be removed; that a build stops at it is tested elsewhere.
    params["sources"]["drift"] = {"files": 1.0}
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        # dvc.yaml says `python`: the one of this environment, which a person would have activated.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, "-m", *command], cwd=workspace, capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": path},
        )  # fmt: skip

    def said() -> str:
        record = json.loads((workspace / ".equiderm/results/sources.json").read_text())
        return str(record["headline"])

    done = run("dvc", "repro", "ingest")
    assert done.returncode == 0, done.stderr
    assert "pad: 5 rows (5 files here, 5 came, 0 removed, 0 could not be had)" in said()
    catalog = read_rows(workspace / "data/catalog", CatalogRow)
    assert {row.source_row_id for row in catalog if row.source == "pad"} == set(names)
    before = len(s3.requests())
    again = run("dvc", "repro", "ingest")
    assert "Stage 'ingest' didn't change, skipping" in again.stdout
    assert len(s3.requests()) == before + 1, "one listing"
    s3.client.delete_object(Bucket=bucket, Key="pad/images/3.png")
    assert run("flows.sources").returncode == 0
    assert "4 files here, 0 came, 1 removed" in said()
    assert not (workspace / "data/fetched/pad/images/3.png").exists()
    params["sources"]["use"]["pad"]["path"] = "s3://nowhere-at-all/pad"
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    failed = run("flows.sources")
    assert failed.returncode == 2
    assert failed.stderr.strip().splitlines()[-1].endswith("there is no such bucket; correct the path in params.yaml")
    assert "Traceback" not in failed.stderr


def test_a_release_is_pushed_and_pulled_with_dvc(s3: S3, tmp_path: Path) -> None:
    pytest.importorskip("dvc_s3", reason="dvc-s3 is not installed")
    bucket = s3.bucket()

    def run(folder: Path, *command: str) -> None:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    here, there = tmp_path / "here", tmp_path / "there"
    (here / "release/data").mkdir(parents=True)
    made = {f"data/{n}.parquet": np.random.default_rng(n).bytes(50_000) for n in range(12)}
    made |= {"index.parquet": b"i" * 7_000_000, "datasheet.md": "Fréchet".encode()}
    for name, body in made.items():
        (here / "release" / name).write_bytes(body)
    dvc = (sys.executable, "-m", "dvc")
    run(here, "git", "init", "-q")
    run(here, *dvc, "init", "-q")
    run(here, *dvc, "remote", "add", "-d", "store", f"s3://{bucket}/dvc")
    run(here, *dvc, "remote", "modify", "store", "endpointurl", s3.told["endpoint_url"])
    run(here, *dvc, "remote", "modify", "store", "region", "us-east-1")
    run(here, *dvc, "add", "-q", "release")
    run(here, "git", "add", "-A")
    run(here, "git", "commit", "-qm", "release")
    run(here, *dvc, "push", "-q")
    run(tmp_path, "git", "clone", "-q", str(here), str(there))
    run(there, *dvc, "pull", "-q")
    root = there / "release"
    assert {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()} == made
