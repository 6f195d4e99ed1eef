"""A real S3 server as the tests see it; infra/s3/server.py starts it."""

from __future__ import annotations

import importlib.util
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.location_params import Location

ROOT = Path(__file__).resolve().parents[2]


def load_server() -> Any:
    spec = importlib.util.spec_from_file_location("s3_server", ROOT / "infra/s3/server.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["s3_server"] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class S3:
    """A running S3 server."""

    folder: Path
    told: dict[str, str]
    client: Any

    def bucket(self) -> str:
        name = f"b{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, files: dict[str, bytes]) -> None:
        for key, body in files.items():
            self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def location(self, path: str, **more: Any) -> Location:
        return Location(path=path, endpoint_url=self.told["endpoint_url"], region="us-east-1", **more)

    def requests(self) -> list[str]:
        """Every request so far, as nginx logged it: `GET /bucket/key HTTP/1.1" 200 ...`."""
        return [line.split('"', 1)[1] for line in (self.folder / "log/requests.log").read_text().splitlines()]


def use_keys(monkeypatch: pytest.MonkeyPatch, key: str | None, secret: str | None) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if key and secret:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
