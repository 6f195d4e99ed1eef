"""What all tasks have in common: nothing is cached or stored by Prefect, and only a transient fault is tried again."""

from __future__ import annotations

import errno
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

PASSING = frozenset({errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENETUNREACH})
"""Faults of a disk or network that may be gone in a moment. A missing file or a full disk will not be."""


def transient(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Return whether a failed attempt is worth another one."""
    error = state.data
    return isinstance(error, ConnectionError | TimeoutError) or (isinstance(error, OSError) and error.errno in PASSING)


unit = partial(
    task,
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=3,
    retry_delay_seconds=[1, 4, 15],
    retry_condition_fn=transient,
)
"""Decorator of one unit of work: `@unit(name=...)`."""
