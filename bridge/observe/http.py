"""The HTTP side: /metrics for Prometheus, /health/live and /health/ready for whoever restarts and routes.

*Live* means that the main loop ticked lately: a process that is not should be killed. *Ready* means that each source
is either owned here, its producer initialised, or stands by for its owner; the body says which. Nothing here tells a
browser that other sites may read it, and nothing here can be written to.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from prometheus_client.exposition import choose_encoder

from bridge.observe.metrics import Metrics

STARTING, STANDBY, RESTORING, OWNER, STOPPED = "starting", "standby", "restoring", "owner", "stopped"
STATES: Final = (STARTING, STANDBY, RESTORING, OWNER, STOPPED)
READY_STATES: Final = frozenset({OWNER, STANDBY})
REQUEST_SECONDS: Final = 5.0  # for one request to arrive; a slow client loses its connection


class Health:
    """What the main loop says of itself. One thread writes, the server's threads read."""

    def __init__(self, tick_limit_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = tick_limit_seconds
        self._now = now
        self._ticked = now()
        self._states: dict[str, str] = {}

    def tick(self) -> None:
        """The loop came round; also called by long restores."""
        self._ticked = self._now()

    def state(self, source: str, state: str) -> None:
        """A source's state: starting, standby, restoring, owner or stopped."""
        if state not in STATES:
            raise ValueError(state)
        self._states = {**self._states, source: state}

    def owns(self, source: str) -> bool:
        return self._states.get(source) == OWNER

    def live(self) -> tuple[bool, dict[str, object]]:
        """Whether the loop ticked within the limit, and the body that says so."""
        age = self._now() - self._ticked
        return age < self._limit, {"tick_age_seconds": round(age, 3), "limit_seconds": self._limit}

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether every source is owned or stands by, and the body with each source's state."""
        states = self._states
        return bool(states) and READY_STATES.issuperset(states.values()), {"sources": states}


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: Server
    timeout = REQUEST_SECONDS
    server_version = "bridge"
    sys_version = ""

    def do_GET(self) -> None:
        """The three pages, or 404."""
        path = self.path.split("?", 1)[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, content_type, encode(self.server.metrics.registry))
        elif path == "/health/live":
            self._say(*self.server.health.live())
        elif path == "/health/ready":
            self._say(*self.server.health.ready())
        else:
            paths = ["/metrics", "/health/live", "/health/ready"]
            self._answer(HTTPStatus.NOT_FOUND, "application/json", json.dumps({"paths": paths}).encode())

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def _say(self, good: bool, body: dict[str, object]) -> None:  # noqa: FBT001 - the pair that Health returns
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, "application/json", json.dumps({"ok": good, **body}).encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing: a probe every second is no news."""


class Server(ThreadingHTTPServer):
    """Serves from a daemon thread between ``start`` and ``close``; port 0 takes a free one, see ``port``."""

    daemon_threads = True

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        self.metrics = metrics
        self.health = health
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port that is really bound."""
        return int(self.server_address[1])

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop answering and free the port."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no news either."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
