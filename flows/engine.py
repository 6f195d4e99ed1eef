"""Where the blocks of a production run: threads of this machine, or an engine that is there. Chosen by environment.

    EQUIDERM_ENGINE          threads (default), dask or ray
    EQUIDERM_DASK_SCHEDULER  address of a Dask scheduler, e.g. tcp://10.0.0.5:8786; without it Dask runs on this machine
    EQUIDERM_RAY_ADDRESS     address of a Ray cluster, e.g. ray://10.0.0.5:10001; without it Ray runs on this machine
    EQUIDERM_GPU_SLOTS       how many blocks may hold a GPU at once, wherever they run; without it there is no limit

Workers on other machines need this checkout importable, the workspace under the same path (a shared folder) and the
Prefect server's address in reach.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import CheckFailed, UserError

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

ENGINES: Final = ("threads", "dask", "ray")
"""Threads share one loaded model; the workers of the others are processes that load their own."""

ENGINE: Final = "EQUIDERM_ENGINE"
DASK_SCHEDULER: Final = "EQUIDERM_DASK_SCHEDULER"
RAY_ADDRESS: Final = "EQUIDERM_RAY_ADDRESS"
GPU_SLOTS: Final = "EQUIDERM_GPU_SLOTS"
GPU_LIMIT: Final = "equiderm-gpu"
"""Name of the Prefect concurrency limit whose slots stand for GPUs."""


def threads(width: int) -> TaskRunner[Any]:
    """Return what runs a flow's mapped tasks in threads of its own process, `width` at once."""
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=width)


def task_runner(width: int) -> TaskRunner[Any]:
    """Return what runs a flow's mapped tasks as the environment says, `width` at once where the engine starts here.

    Raises:
        UserError: an unknown engine, an address without its engine, or an engine that is not installed.
    """
    engine = os.environ.get(ENGINE, "") or "threads"
    addresses = {"dask": DASK_SCHEDULER, "ray": RAY_ADDRESS}
    for name, variable in addresses.items():
        if os.environ.get(variable) and engine != name:
            raise UserError(f"{variable} is set and {ENGINE} is {engine}; set {ENGINE}={name} or unset {variable}")
    if engine not in ENGINES:
        raise UserError(f"{ENGINE} is {engine!r}; needs threads, dask or ray")
    if engine == "threads":
        return threads(width)
    try:
        return {"dask": _dask, "ray": _ray}[engine](width, os.environ.get(addresses[engine]))
    except ImportError as error:
        raise UserError(
            f"{ENGINE} is {engine}, which is not installed ({error}); run `pip install 'equiderm[{engine}]'`"
        ) from None


def _dask(width: int, address: str | None) -> TaskRunner[Any]:
    from prefect_dask import DaskTaskRunner

    if address:
        return DaskTaskRunner(address=address)
    # One task a process: torch uses the cores itself, and a process that hangs can be ended alone.
    return DaskTaskRunner(cluster_kwargs={"n_workers": width, "threads_per_worker": 1, "dashboard_address": None})


def _ray(width: int, address: str | None) -> TaskRunner[Any]:
    import ray  # noqa: F401 (prefect_ray imports it late: a missing one would show only at the first task)
    from prefect_ray import RayTaskRunner

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine
    if address:
        return RayTaskRunner(address=address)
    return RayTaskRunner(init_kwargs={"num_cpus": width, "include_dashboard": False, "log_to_driver": False})


@contextmanager
def worker_faults() -> Iterator[None]:
    """Say in one line that a unit of work was given up because of the workers it met.

    Raises:
        CheckFailed: every worker that it was given to died or hung.
    """
    try:
        yield
    except TimeoutError as error:  # on threads, after tasks.unit tried it again
        raise CheckFailed(str(error)) from None
    except Exception as error:
        # Dask's and Ray's own; by name, because neither needs to be installed.
        if type(error).__name__ not in ("KilledWorker", "WorkerCrashedError"):
            raise
        raise CheckFailed(
            f"a block was given up after several workers that died or hung at it ({type(error).__name__}); see the "
            "workers' output for why: memory, or produce.block_timeout_s; what is finished is kept"
        ) from None


def gpu_limit() -> str | None:
    """Return the name of the limit that every block takes a slot of, with as many slots as asked for; None if none are.

    Raises:
        UserError: EQUIDERM_GPU_SLOTS is not a number above 0.
    """
    slots = os.environ.get(GPU_SLOTS)
    if not slots:
        return None
    if not slots.isdecimal() or not int(slots):
        raise UserError(f"{GPU_SLOTS} is {slots!r}; needs how many blocks may hold a GPU at once, 1 or more")
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, int(slots))
    return GPU_LIMIT
