"""Where a source's files come from: a local folder, an S3 bucket, and images that a table names by URL."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from schemas.section import Section

S3: Final = "s3://"
BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class UrlList(Section):
    """Images that the source's table names by URL: `name` names the file, `url` says where it is."""

    table: str = Field(description="the CSV, at the top of the source's folder")
    name: str = Field(description="column that names the image file")
    url: str = Field("url", description="column that holds the address, http or https")
    ending: str = Field(".jpg", description="added to the name; empty where the column holds it")
    folder: str = Field("images", description="folder of the mirror for the images, as the adapter looks for it")
    concurrency: int = Field(8, ge=1, le=64, description="files at once")
    per_host_per_s: float = Field(2.0, gt=0, le=1000, description="requests a second to one host")
    attempts: int = Field(5, ge=1, le=20, description="for faults that may pass: 429, 5xx, timeouts, lost connections")
    stall_s: float = Field(30.0, gt=0, description="seconds without a byte after which a connection is given up")
    file_s: float = Field(600.0, gt=0, description="seconds for one attempt at one file")
    max_wait_s: float = Field(120.0, gt=0, description="a host that asks for a longer wait is left alone for this run")
    max_bytes: int = Field(200_000_000, ge=1, description="larger files are refused")
    max_redirects: int = Field(5, ge=0, le=20)
    retry_failed_hours: float = Field(12.0, ge=0, description="a broken link is not asked again before")

    @field_validator("table", "folder")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value in ("", ".", "..") or any(c in "/\\" or ord(c) < 32 for c in value):
            raise ValueError("it needs to be a plain name without a path")
        return value

    @field_validator("ending")
    @classmethod
    def _ending(cls, value: str) -> str:
        if not re.fullmatch(r"(\.[A-Za-z0-9]{1,8})?", value):
            raise ValueError("it needs to be an ending such as .jpg, or empty")
        return value


class Location(Section):
    """Where a source is. Credentials for S3 come from the environment or boto3's own files, never from here."""

    path: str = Field(min_length=1, description="folder, relative to the workspace, or s3://bucket/prefix")
    endpoint_url: str | None = Field(None, description="of an S3 server other than Amazon's")
    region: str | None = Field(None, description="of the bucket; default: the environment's")
    connections: int = Field(8, ge=1, le=64, description="objects fetched from S3 at once")
    urls: UrlList | None = Field(None, description="images to fetch from the addresses in the table")

    @property
    def remote(self) -> bool:
        """Whether anything has to be fetched before the source can be read."""
        return self.path.startswith(S3) or self.urls is not None

    @property
    def bucket_and_prefix(self) -> tuple[str, str]:
        """The bucket, and the prefix of its keys: empty, or ending in a slash."""
        bucket, _, prefix = self.path.removeprefix(S3).partition("/")
        return bucket, prefix.strip("/") + "/" if prefix.strip("/") else ""

    @model_validator(mode="after")
    def _said_well(self) -> Location:
        if not self.path.startswith(S3):
            if re.match(r"[a-z][a-z0-9+.-]*://", self.path, re.IGNORECASE):
                raise ValueError(f"path {self.path} is not a folder; it needs a folder or {S3}bucket/prefix")
            if self.endpoint_url or self.region:
                raise ValueError(f"endpoint_url and region go with a path that begins with {S3}; remove them")
        elif not BUCKET.fullmatch(self.bucket_and_prefix[0]):
            raise ValueError(f"path {self.path} names no bucket; it needs {S3}bucket/prefix, without credentials in it")
        if self.endpoint_url is not None:
            parts = urlsplit(self.endpoint_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
                raise ValueError("endpoint_url needs to be http(s)://host:port, without credentials in it")
        return self
