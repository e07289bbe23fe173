"""A small HTTP service with a pool behind its handlers, and the one function that makes it migrate.

python examples/migrated_service.py --port 8080        # then, from any folder: poolproof migrate start …

POST /echo                    {"value": …}   the value, from a worker
POST /sessions/NAME/append    {"value": …}   all values of the session
DELETE /sessions/NAME                        the end of the session
GET /migration                               where the migration stands in this process
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from poolproof.bridge import CommandError, Pool, PoolConfig, PoolError
from poolproof.migration import MigratingPool, load_plan
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2

WORKERS = 2


def make_pool(**place: str) -> MigratingPool:
    """The service's pool. Before the migration this function was `return PoolV1(config)`.

    `place` may be a `name` or a `state_file`. Without one the migration is the user's `default`.
    """
    config = PoolConfig(workers=WORKERS)
    return MigratingPool(PoolV1(config), PoolV2(config), load_plan(idempotent=["echo"], **place))


class Handler(BaseHTTPRequestHandler):
    """One connection. The handler does not know which pool it uses."""

    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        """Echo, or append to a session."""
        body = msgspec.json.decode(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        match self.path.strip("/").split("/"):
            case ["echo"]:
                self._answer(lambda: self.server.pool.execute("echo", body))
            case ["sessions", name, "append"]:
                args = {"key": "values", "value": body["value"]}
                self._answer(lambda: self.server.pool.execute_in_session(name, "append", args)["values"])
            case _:
                self._send(404, {"error": "NotFound", "message": self.path})

    def do_DELETE(self) -> None:
        """End a session."""
        name = self.path.rpartition("/")[2]
        self._answer(lambda: self.server.pool.end_session(name))

    def do_GET(self) -> None:
        """Report the status of the migration."""
        pool = self.server.pool
        self._answer(lambda: pool.report() if isinstance(pool, MigratingPool) else None)

    def _answer(self, work: Any) -> None:  # noqa: ANN401 - what the pool is asked
        try:
            value = work()
        except CommandError as error:
            self._send(422, {"error": "CommandError", "message": error.message})
        except PoolError as error:
            told = {"error": type(error).__name__, "message": error.message, "sent": error.sent}
            self._send(503, told)
        else:
            self._send(200, {"value": value})

    def _send(self, status: int, body: object) -> None:
        data = msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *parts: object) -> None:
        """Log nothing."""


class Service(ThreadingHTTPServer):
    """The service on a port of the loopback interface; 0 takes a free one."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, pool: Pool, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.pool = pool


def main() -> None:
    """Serve until interrupted."""
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=8080)
    options.add_argument("--name", default="")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with make_pool(name=chosen.name) as pool, Service(pool, chosen.port) as service:
        thread = threading.Thread(target=service.serve_forever, daemon=True)
        thread.start()
        sys.stdout.write(f"serving on port {service.server_address[1]}\n")
        sys.stdout.flush()
        try:
            thread.join()
        except KeyboardInterrupt:
            pass
        finally:
            service.shutdown()


if __name__ == "__main__":
    main()
