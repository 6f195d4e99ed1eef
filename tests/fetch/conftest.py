"""Places to fetch from: a hostile web server, and a real S3 server where its programs are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from bucket_server import S3, load_server, use_keys
from hostile_server import HostileServer, hostile_server

from schemas.paths import Workspace


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    server = load_server()
    if missing := server.missing_programs():
        pytest.skip(f"no {', '.join(missing)} here; infra/s3/server.py says how to install them")
    folder = tmp_path_factory.mktemp("s3")
    told = server.start(folder)
    guard = server.guard(folder)  # for a test run that is killed
    try:
        client = boto3.client(
            "s3",
            endpoint_url=told["endpoint_url"],
            region_name="us-east-1",
            aws_access_key_id=told["access_key_id"],
            aws_secret_access_key=told["secret_access_key"],
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )
        yield S3(folder, told, client)
    finally:
        server.stop(folder)
        guard.communicate()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The S3 server, with the owner's keys in the environment."""
    use_keys(monkeypatch, s3_server.told["access_key_id"], s3_server.told["secret_access_key"])
    return s3_server


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None, str | None], None]:
    return lambda key, secret: use_keys(monkeypatch, key, secret)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with hostile_server() as server:
        yield server


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A folder to mirror into; with nothing in it."""
    (tmp_path / "workspace").mkdir()
    return Workspace(tmp_path / "workspace")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.fetch.web.BACKOFF", lambda state: 0.01)
