"""The Prefect server of a build: yours if PREFECT_API_URL names one, else a local one for as long as the build runs.

`python -m flows.server FD` is that local server: the API and the UI on an already bound loopback socket.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows.lifeline import follow
from schemas.errors import UserError, WorkspaceError
from schemas.paths import Workspace

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    # A slot that a killed worker held comes back though the server was killed as well.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # The build prints its own lines; everything Prefect logs is kept by its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
"""Set unless the user has set them: nothing leaves the machine, no slot is lost, and no tracebacks for errors raised on purpose."""

START_SECONDS = 120.0
"""Longest wait for the first answer; a first start on a cold disk compiles Prefect and creates its database (15 s)."""
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """A Prefect API. `process` is null for one that is not ours."""

    url: str
    process: subprocess.Popen[bytes] | None
    log: Path
    up: threading.Event = field(default_factory=threading.Event)
    """Set while the server is known to answer and is not being stopped."""

    def wait(self, patience: float = START_SECONDS) -> None:
        """Return once the API answers; `patience` in seconds.

        Raises:
            UserError: the server named by PREFECT_API_URL does not answer.
            WorkspaceError: the local server ended or is silent.
        """
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if answers(self.url):
                self.up.set()
                return
            if self.process and self.process.poll() is not None:
                break
            time.sleep(0.05)
        if self.process is None:
            raise UserError(
                f"PREFECT_API_URL is {self.url}: no answer in {patience:.0f} s; start that server or unset the variable"
            )
        raise WorkspaceError(f"the local Prefect server did not start; see {self.log}, or set PREFECT_API_URL")

    def announce(self) -> None:
        """Say on stderr where the build can be watched."""
        print(f"Prefect: {self.url.removesuffix('/api')}", file=sys.stderr, flush=True)


def answers(url: str) -> bool:
    """Return whether the Prefect API at `url` is healthy. Never through a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def local_server(workspace: Workspace) -> Iterator[Server]:
    """Give a Prefect server to this process and its children through PREFECT_API_URL.

    Returns at once: the server starts while the caller imports; call `wait()` before the first flow. Its history stays
    in `.equiderm/prefect`. Import Prefect only inside the block: it reads its settings when imported.
    """
    before = dict(os.environ)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    given = os.environ.get("PREFECT_API_URL")
    log = workspace.state / "prefect/server.log"
    try:
        if given:
            yield Server(given.rstrip("/"), None, log)
            return
        os.environ["PREFECT_HOME"] = str(log.parent)
        server = _start(log)
        threading.Thread(target=_end_without, args=[server], name="server-watch", daemon=True).start()
        os.environ["PREFECT_API_URL"] = server.url
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1")))
        try:
            yield server
        finally:
            drain()
            _stop(server)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _start(log: Path) -> Server:
    log.parent.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(listener.fileno())],
            stdin=subprocess.PIPE,  # its lifeline
            stdout=output,
            stderr=output,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C in the terminal is for the build, which then stops its server
            env={**os.environ, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"},
        )
    return Server(f"http://127.0.0.1:{port}/api", process, log)


def drain() -> None:
    """Send what Prefect still holds in this process, states of task runs and logs, while its server is there."""
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        EventsWorker.drain_all(timeout=5)
        APILogWorker.drain_all(timeout=5)


def _end_without(server: Server) -> None:
    """End this process when its server is gone: Prefect's client would ask a dead one again for many minutes.

    At once is safe, as in `follow_build`: what is finished is kept, and the processes started from here end with it.
    """
    assert server.process is not None
    status = server.process.wait()
    if server.up.is_set():
        print(
            f"equiderm: the local Prefect server ended (status {status}) while it was needed; see {server.log}; run it "
            "again, it goes on where it stopped",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        os._exit(1)


def _stop(server: Server) -> None:
    server.up.clear()
    process = server.process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve(descriptor: int) -> None:
    """Serve Prefect's API and UI on the bound socket `descriptor` until standard input closes."""
    import uvicorn

    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error", timeout_graceful_shutdown=3
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True
        threading.Timer(STOP_SECONDS, os._exit, [1]).start()

    follow(sys.stdin.fileno(), stop)
    server.run(sockets=[socket.socket(fileno=descriptor)])
    os._exit(0)  # a background service of Prefect may hold a thread that never ends


if __name__ == "__main__":
    serve(int(sys.argv[1]))
