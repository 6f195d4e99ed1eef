"""Objects under an S3 prefix: listed, and fetched whole, resumed by range, checked against their ETag.

Requests are retried by botocore (`standard` mode: 5 attempts, growing pauses with jitter); it does not retry a body
that breaks off, so that is done here, by range from where it broke, with tenacity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as BotoConnectionError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential
from urllib3.exceptions import HTTPError

from pipelines.fetch.crowd import Stop
from pipelines.fetch.mirror import Mirror, Target, fetched
from pipelines.fetch.partial import Arrived, Partial
from schemas.errors import SourceError
from schemas.fetch import FetchedRow, FetchStatus
from schemas.location_params import Location

ATTEMPTS: Final = 5
STALL_S: Final = 30
"""Without a byte for so long, a connection is given up."""
CHUNK: Final = 1 << 20
MD5_ETAG: Final = re.compile(r'"[0-9a-f]{32}"')
"""An object that was uploaded in one part; others have a number of parts behind a dash, and no checksum."""
WORDS: Final = {
    "NoSuchBucket": "there is no such bucket; correct the path in params.yaml",
    "AccessDenied": "access denied; needs a key that may list and read it; set AWS_ACCESS_KEY_ID and its secret",
    "403": "access denied; needs a key that may list and read it; set AWS_ACCESS_KEY_ID and its secret",
    "InvalidAccessKeyId": "the server does not know the key; set AWS_ACCESS_KEY_ID and its secret",
    "SignatureDoesNotMatch": "the secret does not go with the key; set AWS_SECRET_ACCESS_KEY",
}
"""What to do about an error code that S3 servers give."""


class BrokenOff(Exception):
    """A body ended early or stalled, or arrived damaged; asking again may help."""


class Bucket:
    """One source's objects; used by all its workers."""

    def __init__(self, name: str, location: Location, mirror: Mirror, stop: Stop) -> None:
        """Make the client; nothing is asked yet."""
        self._name, self._location, self._mirror, self._stop = name, location, mirror, stop
        self._bucket, self._prefix = location.bucket_and_prefix
        config = Config(
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            connect_timeout=10,
            read_timeout=STALL_S,
            max_pool_connections=location.connections,
            # Servers other than Amazon's do not know the newer checksums, nor every one of them buckets as host names.
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if location.endpoint_url else None,
        )
        with self._told():
            # A session of its own: the default one remembers the first credentials it found.
            self._client: Any = boto3.session.Session().client(
                "s3", endpoint_url=location.endpoint_url, region_name=location.region, config=config
            )

    def listing(self) -> list[Target]:
        """Return every object under the prefix; markers of empty folders are not objects.

        Raises:
            SourceError: no such bucket, no credentials or wrong ones, no answer, or nothing under the prefix.
        """
        found = []
        with self._told():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for entry in page.get("Contents", []):
                    name = entry["Key"].removeprefix(self._prefix)
                    if name and not name.endswith("/"):
                        url = f"s3://{self._bucket}/{entry['Key']}"
                        found.append(Target(name, url, entry["ETag"], entry["Size"], entry["LastModified"]))
        if not found:
            raise SourceError(
                f"sources.use.{self._name}: {self._location.path} holds no object; needs the dataset's files; "
                "correct the path in params.yaml"
            )
        return found

    def fetch(self, target: Target) -> FetchedRow:
        """Return the row of an object, whose file is in the mirror; one that is gone meanwhile is `removed`.

        Raises:
            SourceError: it cannot be read, or arrived damaged or cut short every time.
            DiskFullError: there is no room for it.
        """
        count = 0

        def attempt() -> FetchedRow:
            nonlocal count
            count += 1
            return self._attempt(target, count)

        try:
            with self._told():
                return Retrying(
                    retry=retry_if_exception_type(BrokenOff),
                    stop=stop_after_attempt(ATTEMPTS),
                    wait=wait_random_exponential(multiplier=0.5, max=20),
                    sleep=self._stop.pause,
                    reraise=True,
                )(attempt)
        except BrokenOff as error:
            raise SourceError(
                f"sources.use.{self._name}: {target.url}: {error}, {count} times; needs the whole object; "
                "check the server and run it again: what is fetched is kept"
            ) from None

    def _attempt(self, target: Target, count: int) -> FetchedRow:
        partial = self._mirror.partial(target)
        offset, held = partial.held()
        ranged = {"Range": f"bytes={offset}-"} if offset and held else {}
        try:
            reply = self._client.get_object(
                Bucket=self._bucket, Key=target.url.split("/", 3)[3], IfMatch=held or target.etag, **ranged
            )
        except ClientError as error:
            return self._without_answer(error, partial, target)
        etag, modified = reply["ETag"], reply["LastModified"]
        if ranged and not reply.get("ContentRange", "").startswith(f"bytes {offset}-"):
            partial.drop()
            raise BrokenOff("the server answered with another part than asked for")
        if not ranged:
            partial.start(etag)
            offset = 0
        total = offset + reply["ContentLength"]
        self._receive(reply["Body"], partial, total)
        done = self._checked(reply, partial, total)
        partial.finish(self._mirror.path(target.name), modified)
        return fetched(target, done, etag, modified, count)

    def _without_answer(self, error: ClientError, partial: Partial, target: Target) -> FetchedRow:
        """Return the row of an object that is gone; raises BrokenOff if it only changed, else the error."""
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("PreconditionFailed", "412", "InvalidRange", "416"):
            held = partial.held()[0]
            partial.drop()
            if held:
                raise BrokenOff("it changed while it was being fetched") from None
            # Not even a new start finds the listed version: take the one that is there now.
            head = self._client.head_object(Bucket=self._bucket, Key=target.url.split("/", 3)[3])
            partial.start(head["ETag"])
            raise BrokenOff("it changed since it was listed") from None
        if code in ("NoSuchKey", "404"):
            partial.drop()
            return FetchedRow(
                name=target.name,
                url=target.url,
                status=FetchStatus.REMOVED,
                etag=target.etag,
                modified=None,
                bytes=0,
                sha256=None,
                reason="listed, but gone when it was asked for",
                attempts=1,
                fetched_at=datetime.now(UTC),
            )
        raise error

    def _receive(self, body: Any, partial: Partial, total: int) -> None:
        try:
            with partial.appending(total) as handle:
                for chunk in body.iter_chunks(CHUNK):
                    self._stop.check()
                    handle.write(chunk)
        except (HTTPError, HTTPClientError, IncompleteReadError, ConnectionError, TimeoutError) as error:
            raise BrokenOff(f"the connection was lost ({type(error).__name__})") from None
        finally:
            with suppress(Exception):
                body.close()

    def _checked(self, reply: Any, partial: Partial, total: int) -> Arrived:
        found = partial.digests()
        wrong = ""
        if found.bytes != total:
            wrong = f"{found.bytes:,} bytes came of {total:,}"
        # Under a customer's or KMS key the ETag is no digest of what is read.
        plain = reply.get("ServerSideEncryption") in (None, "AES256") and not reply.get("SSECustomerAlgorithm")
        if not wrong and plain and MD5_ETAG.fullmatch(reply["ETag"]) and reply["ETag"].strip('"') != found.md5:
            wrong = f"arrived damaged, md5 {found.md5}, ETag {reply['ETag']}"
        if wrong:
            partial.drop()
            raise BrokenOff(wrong)
        return found

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn botocore's errors into one line that says what to do."""
        where = f"sources.use.{self._name}: {self._location.path}"
        if self._location.endpoint_url:
            where += f" at {self._location.endpoint_url}"
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            said = WORDS.get(code) or f"{code} {error.response.get('Error', {}).get('Message', '')}; check the server"
            raise SourceError(f"{where}: {said}") from None
        except BotoCoreError as error:
            raise SourceError(f"{where}: {_advice(error)}") from None


def _advice(error: BotoCoreError) -> str:
    kind = type(error).__name__
    if kind in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return f"{error}; needs credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
    if isinstance(error, HTTPClientError | BotoConnectionError):
        return f"no answer ({kind}); needs a reachable server; check endpoint_url and the network, then run it again"
    return f"{str(error).rstrip('.')}; correct it in params.yaml or the environment"
