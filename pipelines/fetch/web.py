"""One file over HTTP: resumed, retried with growing pauses, never faster than its host is to be asked."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from pipelines.fetch.crowd import Stop
from pipelines.fetch.mirror import Mirror, Target, failed, fetched
from pipelines.fetch.pace import Pace, asked_to_wait
from pipelines.fetch.partial import Partial
from schemas.fetch import FetchedRow
from schemas.location_params import UrlList

MAY_PASS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another attempt may change."""
YEARS: Final = (1970, 2100)
"""Of a file's date, first and last; a server that states another has none to give."""
BACKOFF: Final = wait_random_exponential(multiplier=1, max=30)
"""Seconds before the next attempt: uniform in 0 .. min(30, 2^attempts), so that workers do not return in step."""


class Broken(Exception):
    """The file cannot be had from this address; asking again will not help."""


class Passing(Exception):
    """A fault that another attempt may find gone; `wait` is what the host asked for, seconds."""

    def __init__(self, reason: str, wait: float = 0) -> None:
        super().__init__(reason)
        self.wait = wait


def user_agent() -> str:
    """Return what the factory calls itself to hosts."""
    with suppress(PackageNotFoundError):
        return f"equiderm/{version('equiderm')} (mirrors the image list of a published dermatology dataset)"
    return "equiderm (mirrors the image list of a published dermatology dataset)"


class Web:
    """Fetches single files; one for a source, used by all its workers."""

    def __init__(self, mirror: Mirror, settings: UrlList, stop: Stop) -> None:
        """Open the client; close it with `close`."""
        self._mirror, self._settings, self._stop = mirror, settings, stop
        self._pace = Pace(settings.per_host_per_s, stop)
        self.heard = 0
        """Answers of any kind from any host."""
        self._client = httpx.Client(
            timeout=settings.stall_s,
            # A compressed answer has neither the file's length nor its ranges.
            headers={"User-Agent": user_agent(), "Accept-Encoding": "identity", "Accept": "image/*, */*;q=0.5"},
            limits=httpx.Limits(max_connections=settings.concurrency),
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def fetch(self, target: Target) -> FetchedRow:
        """Return the row of a target: its file is in the mirror, or the reason says why not.

        Raises:
            DiskFullError: there is no room for it.
            Stopped: another file's error ended the run.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(Passing),
            stop=stop_after_attempt(self._settings.attempts),
            wait=_pause,
            sleep=self._stop.pause,
            reraise=True,
        )
        count = 0

        def attempt() -> FetchedRow:
            nonlocal count
            count += 1
            return self._attempt(target, count)

        try:
            return retrying(attempt)
        except (Broken, Passing) as error:
            if isinstance(error, Broken):
                self._mirror.partial(target).drop()
            return failed(target, str(error), count)

    def _attempt(self, target: Target, count: int) -> FetchedRow:
        partial = self._mirror.partial(target)
        offset, held = partial.held()
        ranged = {"Range": f"bytes={offset}-", "If-Range": held} if offset and held else {}
        deadline = time.monotonic() + self._settings.file_s
        with self._answer(target.url, ranged) as response:
            total = _whole_size(response)
            if response.status_code != HTTPStatus.OK:
                _check_range(response, partial, offset, held)
            else:
                partial.start(_version(response))
                offset = 0
            self._receive(response, partial, offset, total, deadline)
            etag, modified = response.headers.get("etag"), _modified(response)
        done = partial.digests()
        if total is not None and done.bytes != total:
            partial.drop()
            raise Passing(f"{done.bytes:,} bytes came of {total:,}")
        partial.finish(self._mirror.path(target.name), modified)
        return fetched(target, done, etag, modified, count)

    def _receive(self, response: httpx.Response, partial: Partial, size: int, total: int | None, until: float) -> None:
        most = self._settings.max_bytes
        if total is not None and total > most:
            raise Broken(f"{total:,} bytes; urls.max_bytes is {most:,}")
        with partial.appending(total) as handle, _translated():
            # Of no set size: a set one would be gathered first, and lost when the connection is.
            chunks = response.iter_raw() if _plain(response) else response.iter_bytes()
            for chunk in chunks:
                self._stop.check()
                size += len(chunk)
                if size > most:
                    raise Broken(f"more than {most:,} bytes; urls.max_bytes is {most:,}")
                if time.monotonic() > until:
                    raise Passing(f"not finished after {self._settings.file_s:g} s")
                handle.write(chunk)

    @contextmanager
    def _answer(self, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Yield the answer that holds the file, after redirects; each request waits for its host's turn."""
        try:
            request: httpx.Request | None = self._client.build_request("GET", url, headers=headers)
        except (httpx.InvalidURL, ValueError) as error:
            raise Broken(f"not an address: {error}") from None
        for _ in range(self._settings.max_redirects + 1):
            assert request is not None
            response = self._send(request)
            try:
                if not response.has_redirect_location:
                    _check_status(response, self._pace, self._settings.max_wait_s)
                    yield response
                    return
                request = response.next_request
            finally:
                response.close()
        raise Broken(f"more than {self._settings.max_redirects} redirects")

    def _send(self, request: httpx.Request) -> httpx.Response:
        host = request.url.netloc.decode("ascii", "replace")
        if request.url.scheme not in ("http", "https") or not request.url.host:
            raise Broken(f"address is {request.url.scheme or 'nothing'}:; needs http or https")
        if why := self._pace.why_given_up(host):
            raise Broken(why)
        self._pace.turn(host)
        try:
            with _translated():
                response = self._client.send(request, stream=True)
        except Passing:
            self._pace.silent(host)
            raise
        self._pace.answered(host)
        self.heard += 1
        return response


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(BACKOFF(state), error.wait if isinstance(error, Passing) else 0)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what httpx raises into Broken or Passing, in words that are the same at every attempt."""
    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, httpx.DecodingError) as error:
        raise Broken(f"{type(error).__name__}: {error}") from None
    except httpx.TimeoutException as error:
        raise Passing("no connection in time" if isinstance(error, httpx.ConnectTimeout) else "stalled") from None
    except httpx.ConnectError as error:
        raise Passing(f"no connection: {error}") from None
    except httpx.HTTPError:
        raise Passing("connection lost before the end") from None


def _check_status(response: httpx.Response, pace: Pace, max_wait_s: float) -> None:
    code = response.status_code
    if code in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        return
    said = f"{code} {response.reason_phrase}".strip()
    if code not in MAY_PASS:
        raise Broken(said)
    host = response.url.netloc.decode("ascii", "replace")
    seconds = asked_to_wait(response.headers.get("retry-after")) or 0.0
    if seconds > max_wait_s:
        why = f"{said}, {host} asks for a wait longer than urls.max_wait_s, {max_wait_s:g} s"
        pace.give_up(host, why)
        raise Broken(why)
    pace.leave_alone(host, seconds)
    raise Passing(said, seconds)


def _check_range(response: httpx.Response, partial: Partial, offset: int, held: str | None) -> None:
    """Raise Passing, and forget what is here, unless the answer is what follows it in the same version of the file."""
    # Eighteen digits are more than any file has; Python refuses to read thousands of them.
    start = re.match(r"bytes (\d{1,18})-", response.headers.get("content-range", ""))
    same = held in (response.headers.get("etag", held), response.headers.get("last-modified"))
    if response.status_code == HTTPStatus.PARTIAL_CONTENT and offset and start and int(start[1]) == offset and same:
        return
    partial.drop()
    raise Passing("answered with another part than asked for")


def _plain(response: httpx.Response) -> bool:
    """Return whether the bytes on the wire are the file's own."""
    return response.headers.get("content-encoding", "identity").strip().lower() in ("", "identity")


def _whole_size(response: httpx.Response) -> int | None:
    """Return the file's size in bytes as the answer states it."""
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        total = response.headers.get("content-range", "").rpartition("/")[2]
    else:
        total = response.headers.get("content-length", "") if _plain(response) else ""
    return int(total) if re.fullmatch(r"[0-9]{1,18}", total) else None


def _version(response: httpx.Response) -> str | None:
    """Return what If-Range takes (RFC 9110, 13.1.5): a strong ETag, else a date, else None."""
    etag = response.headers.get("etag", "")
    if not _plain(response):
        return None
    return etag if etag.startswith('"') else response.headers.get("last-modified")


def _modified(response: httpx.Response) -> datetime | None:
    """Return the file's date as the answer states it; None for one that is no date, or that no disk keeps."""
    try:
        at = parsedate_to_datetime(response.headers.get("last-modified", ""))
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    # File systems store fewer years than a datetime: a file of such a date would never look like the one that came.
    return at if YEARS[0] <= at.year <= YEARS[1] else None
