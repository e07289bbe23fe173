"""An HTTP service as a subject: JSON in and out, one connection for each client thread.

The client is the standard library's: each client of a run is a thread of its own, so another package would gain
nothing, and one with retries could repeat a call without the harness knowing.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from poolproof.bridge import CallTimeout, Capability, CommandError, PoolConfig, Sent, WorkerCrashed
from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.own.engine import CRASHES, OwnCall, at_once
from poolproof.harness.subjects.own.executor import Restart
from poolproof.harness.subjects.own.pool import OwnPools
from poolproof.harness.subjects.own.service import Service

UNAVAILABLE = frozenset({502, 503, 504})
"""The statuses by which a service, or the proxy before it, says that no worker has answered."""


def http_pool(
    url: str,
    *,
    method: str = "POST",
    start: str = "",
    health: str = "",
    session_header: str = "",
    session_cookie: str = "",
    restart: Restart = False,
    start_timeout_s: float = 60.0,
) -> OwnPools:
    """Make a factory of pools from the URL of a service: "http://127.0.0.1:{port}/{command}".

    In `url` and `health` the word {port} becomes a free port, {command} and {session} those of the call, and any other
    {word} the argument of that name. The other arguments are sent as a JSON object, or as a query for GET and DELETE.
    With `start` the command line (which may have {port} too) is started for each pool, and ended by SIGTERM;
    the pool is open once `health` answers with a status below 400. The session's name is sent in the header or cookie
    of the given name. With `restart=True` the service is stopped and started again in the scenarios that need it: its
    sessions are to outlive that. A function in its place gets the base URL and restarts the workers.
    Status 502 to 504 and a lost connection are taken for a dead worker, any other status from 400 on for an error of
    the command. Raises UsageError for an invalid URL.
    """
    parts = urlsplit(url.replace("{port}", "80"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is no URL such as http://127.0.0.1:{{port}}/{{command}}")
    if "{port}" in url and not start:
        raise UsageError(f"{url!r} leaves the port open, so the service must be started here: give start=")
    if restart is True and not start:
        raise UsageError("restart=True stops and starts the service, so it must be started here: give start=")
    names = session_header or session_cookie or ("{session}" in url)
    capabilities = {Capability.SESSIONS} if names else set()
    settings = Settings(url=url, method=method.upper(), header=session_header, cookie=session_cookie)
    return OwnPools(
        name="http",
        summary=f"the HTTP service {url}",
        open=lambda config: HttpEngine(settings, Service(start, health, start_timeout_s), config, restart),
        capabilities=frozenset(capabilities | ({Capability.RESTART} if restart else set())),
        learns=False,  # the service is a process of its own, which ends with the pool
    )


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The options that turn a call into an HTTP request."""

    url: str
    method: str
    header: str
    cookie: str

    def request(self, call: OwnCall, port: int) -> tuple[str, bytes | None, dict[str, str]]:
        """Return the URL, the body and the headers of the request for this call."""
        args = dict(call.args)
        words = {"port": str(port), "command": quote(call.command, safe=""), "session": quote(call.session or "")}
        words |= {name: quote(str(args.pop(name)), safe="") for name in list(args) if f"{{{name}}}" in self.url}
        url = self.url
        for name, word in words.items():
            url = url.replace(f"{{{name}}}", word)
        headers = {"Accept": "application/json"}
        if call.session is not None and self.header:
            headers[self.header] = call.session
        if call.session is not None and self.cookie:
            headers["Cookie"] = f"{self.cookie}={quote(call.session)}"
        if self.method in ("GET", "DELETE"):
            return (f"{url}?{urlencode(args)}" if args else url), None, headers
        return url, msgspec.json.encode(args), {**headers, "Content-Type": "application/json"}


class HttpEngine:
    """One service, started by this engine or by the user, and the connections to it."""

    crashes: tuple[type[BaseException], ...] = CRASHES
    refusals: tuple[type[BaseException], ...] = ()
    cancels_running = False
    crash_is_own = True

    def __init__(self, settings: Settings, service: Service, config: PoolConfig, restart: Restart) -> None:
        self._settings = settings
        self._restart = restart
        self._here = threading.local()
        self._open: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._service = service
        service.start(config)

    def submit(self, function: Callable[[Any], Any], argument: OwnCall) -> Future[Any]:
        """Make the request in this thread."""
        return at_once(partial(self._call, argument))

    def end(self, *, busy: bool) -> None:
        """Close the connections and end the service."""
        with self._lock:
            for connection in self._open:
                connection.close()
        self._service.end()

    def restart(self) -> str:
        """Stop and start the service, or let the user's function restart the workers."""
        if callable(self._restart):
            base = "{0.scheme}://{0.netloc}".format(
                urlsplit(self._settings.url.replace("{port}", str(self._service.port)))
            )
            return f"restarted by {getattr(self._restart, '__name__', 'a function')}: {self._restart(base)}"
        self._service.end()
        self._service.start_again()
        return "the service was stopped and started again"

    def _call(self, call: OwnCall) -> Any:  # noqa: ANN401 - any JSON
        url, body, headers = self._settings.request(call, self._service.port)
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        connection = self._connection(parts.scheme, parts.netloc, call.timeout_s)
        try:
            connection.connect() if connection.sock is None else connection.sock.settimeout(call.timeout_s)
        except OSError as error:
            raise WorkerCrashed(f"{parts.netloc} takes no connection: {error}", sent=Sent.NO) from error
        try:
            connection.request(self._settings.method, target, body=body, headers=headers)
            response = connection.getresponse()
            data = response.read()
        except TimeoutError as error:
            connection.close()
            raise CallTimeout(f"{url} had no answer in {call.timeout_s:g} s", sent=Sent.MAYBE) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            told = f"{type(error).__name__}: {error}"
            raise WorkerCrashed(f"the connection to {parts.netloc} was lost: {told}", sent=Sent.MAYBE) from error
        if response.will_close:
            connection.close()
        if response.status in UNAVAILABLE:
            raise WorkerCrashed(f"status {response.status}: {data[:200]!r}", sent=Sent.MAYBE)
        if response.status >= 400:
            raise CommandError(f"status {response.status}: {data[:200].decode('utf-8', 'replace')}")
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError:
            return data.decode("utf-8", "replace")

    def _connection(self, scheme: str, where: str, timeout_s: float) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._here, "connection", None)
        if found is None:
            kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
            found = self._here.connection = kind(where, timeout=timeout_s)
            with self._lock:
                self._open.append(found)
        sock = found.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                found.close()  # the service has closed the idle connection, so nothing was sent on it
        return found
