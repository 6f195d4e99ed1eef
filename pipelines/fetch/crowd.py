"""Many files at once, a few at a time; the first error ends all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from pipelines.fetch.mirror import Target
from schemas.fetch import FetchedRow


class Stopped(Exception):
    """Another file's error ended this one. Never seen outside: the first error is the one that is raised."""


class Stop:
    """A sign to all workers; every pause and every chunk heeds it."""

    def __init__(self) -> None:
        """Not given yet."""
        self._event = threading.Event()

    def give(self) -> None:
        """Tell everyone to end."""
        self._event.set()

    def check(self) -> None:
        """Raise Stopped if the sign was given."""
        if self._event.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait; raises Stopped as soon as the sign is given."""
        if self._event.wait(max(seconds, 0)):
            raise Stopped


def fetch_all(
    targets: Sequence[Target],
    fetch: Callable[[Target], FetchedRow],
    record: Callable[[FetchedRow], None],
    *,
    at_once: int,
    stop: Stop,
) -> list[FetchedRow]:
    """Return a row for each target, recorded as it comes.

    Raises:
        Exception: the first that `fetch` or `record` raised; the other files were ended then, not finished.
    """

    def one(target: Target) -> FetchedRow:
        stop.check()
        row = fetch(target)
        record(row)
        return row

    with ThreadPoolExecutor(max(1, min(at_once, len(targets))), thread_name_prefix="fetch") as pool:
        futures = [pool.submit(one, target) for target in targets]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            stop.give()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def in_turn(groups: Iterable[Sequence[Target]]) -> list[Target]:
    """Return one target of each group, then the next of each: no host's queue stands in front of another's."""
    waiting = [list(reversed(group)) for group in groups]
    found = []
    while waiting := [group for group in waiting if group]:
        found += [group.pop() for group in waiting]
    return found
