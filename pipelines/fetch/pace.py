"""How often one host is asked, how long it is left alone when it asks for that, and when it is given up."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from pipelines.fetch.crowd import Stop

GIVE_UP_AFTER: Final = 20
"""Requests in a row without any answer from a host, after which its other files are not asked for in this run."""


class Pace:
    """Turns of requests by host, shared by all workers."""

    def __init__(self, per_host_per_s: float, stop: Stop) -> None:
        """Give each host so many turns a second."""
        self._gap = 1 / per_host_per_s
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at: dict[str, float] = defaultdict(float)
        self._silent: dict[str, int] = defaultdict(int)
        self._given_up: dict[str, str] = {}

    def turn(self, host: str) -> None:
        """Wait for this request's turn; raises Stopped if the run ends meanwhile."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._free_at[host])
            self._free_at[host] = at + self._gap
        self._stop.pause(at - now)

    def leave_alone(self, host: str, seconds: float) -> None:
        """Let nobody ask that host for so long."""
        with self._lock:
            self._free_at[host] = max(self._free_at[host], time.monotonic() + seconds)

    def answered(self, host: str) -> None:
        """Note that a host is there."""
        with self._lock:
            self._silent[host] = 0

    def silent(self, host: str) -> None:
        """Note that a host gave no answer."""
        with self._lock:
            self._silent[host] += 1
            if self._silent[host] >= GIVE_UP_AFTER:
                self._given_up.setdefault(host, f"{host} gave no answer {GIVE_UP_AFTER} times in a row")

    def give_up(self, host: str, why: str) -> None:
        """Ask that host no more in this run."""
        with self._lock:
            self._given_up.setdefault(host, why)

    def why_given_up(self, host: str) -> str | None:
        """Return why a host is not asked any more, or None if it is."""
        with self._lock:
            return self._given_up.get(host)


def asked_to_wait(retry_after: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date), or None."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
