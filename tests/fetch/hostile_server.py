"""A web server on loopback that behaves as it is told, path by path, and writes down who asked for what, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler", int], None]
"""What to do with the n-th request for a path, n from 1."""


@dataclass
class Asked:
    """One request."""

    path: str
    range: str | None
    if_range: str | None
    agent: str | None
    at: float


@dataclass
class HostileServer:
    """Replies by path; what was asked; how many requests were open at once."""

    url: str = ""
    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    open_now: int = 0
    open_most: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    """Lets stalled replies go when the test is over."""

    def times(self, path: str) -> int:
        return sum(a.path == path for a in self.asked)

    def serve(self, path: str, reply: Reply) -> str:
        self.replies[path] = reply
        return self.url + path


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the reply of its path."""

    protocol_version = "HTTP/1.1"
    state: HostileServer
    lock: threading.Lock

    def do_GET(self) -> None:
        with self.lock:
            self.state.asked.append(
                Asked(
                    self.path,
                    self.headers["Range"],
                    self.headers["If-Range"],
                    self.headers["User-Agent"],
                    time.monotonic(),
                )
            )
            nth = self.state.times(self.path)
            self.state.open_now += 1
            self.state.open_most = max(self.state.open_most, self.state.open_now)
        try:
            self.state.replies.get(self.path, answer(404))(self, nth)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with self.lock:
                self.state.open_now -= 1

    def head(self, code: int, headers: dict[str, Any]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def hostile_server() -> Iterator[HostileServer]:
    state = HostileServer()
    handler = type("Told", (Handler,), {"state": state, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()


def answer(code: int, headers: dict[str, Any] | None = None, body: bytes = b"") -> Reply:
    def reply(handler: Handler, nth: int) -> None:
        handler.head(code, {"Content-Length": len(body), **(headers or {})})
        handler.wfile.write(body)

    return reply


def whole(body: bytes, **headers: Any) -> Reply:
    """The file, without ranges."""
    return answer(200, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def in_order(*replies: Reply) -> Reply:
    """The n-th reply for the n-th request; the last one for all after."""
    return lambda handler, nth: replies[min(nth, len(replies)) - 1](handler, nth)


def ranged(body: bytes, etag: str = '"v1"', cuts: tuple[int, ...] = ()) -> Reply:
    """The file with ranges as RFC 9110 wants them; the n-th answer is cut after cuts[n-1] bytes."""

    def reply(handler: Handler, nth: int) -> None:
        start = 0
        if (asked := handler.headers["Range"]) and handler.headers["If-Range"] in (None, etag):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        if start >= len(body) > 0:
            handler.head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": 0})
            return
        part = body[start:]
        headers = {"ETag": etag, "Content-Length": len(part), "Accept-Ranges": "bytes"}
        if asked and start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.head(206 if asked and start else 200, headers)
        if nth <= len(cuts) and cuts[nth - 1] < len(part):
            handler.wfile.write(part[: cuts[nth - 1]])
            handler.cut()
        else:
            handler.wfile.write(part)

    return reply


def stalling(state: HostileServer, body: bytes, after: int, etag: str = '"v1"') -> Reply:
    """Some bytes, then silence."""

    def reply(handler: Handler, nth: int) -> None:
        handler.head(200, {"Content-Length": len(body), "ETag": etag})
        handler.wfile.write(body[:after])
        handler.wfile.flush()
        state.released.wait(60)
        handler.close_connection = True

    return reply


def redirect(to: str, code: int = 302) -> Reply:
    return answer(code, {"Location": to})
