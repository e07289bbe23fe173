"""Pools of one's own: a right one passes the scenarios over the user's calls, a wrong one fails for its own reason."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof import Calls, async_pool, call, callable_pool, executor_pool, http_pool
from poolproof.bridge import Capability, PoolConfig, WorkerCrashed
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.roles.scenarios import scenarios_of
from poolproof.harness.run.request import Request, why_skipped
from poolproof.harness.run.runner import run
from poolproof.harness.subjects.pools import as_subject, find_pool

REQUEST = Request(size=Size(workers=2, clients=2), observed=False)
QUICK = call("twice", lambda n: {"number": n}, matches=lambda request, answer: answer == 2 * request["number"])
STATE = call("add", lambda n: {"value": n}, expects=lambda requests: [each["value"] for each in requests])
CALLS = Calls(
    quick=QUICK,
    slow=call("wait", lambda n: {"number": n}, matches=lambda request, answer: answer == request["number"]),
    fails=call("refuse", lambda n: {"number": n}, matches=lambda request, error: str(request["number"]) in error),
    stateful=STATE,
    calls=120,
    slower=None,
)
Tasks = ThreadPoolExecutor


def twice(number: int) -> int:
    return 2 * number


def wait(number: int) -> int:
    threading.Event().wait(0.05)
    return number


def refuse(number: int) -> None:
    raise ValueError(f"no {number}")


class Store:
    """What the sessions of a pool know; `forget` restarts its one worker, `twice_in` lets some calls run twice."""

    def __init__(self, *, forgets: bool = False, twice_in: int = 0) -> None:
        self.kept: dict[str | None, list[int]] = {}
        self._forgets, self._twice_in = forgets, twice_in
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def call(self, command: str, args: dict[str, Any], session: str | None = None) -> Any:
        if command != "add":
            return globals()[command](**args)
        with self._lock:
            kept = self.kept.setdefault(session, [])
            ran_twice = self._twice_in and next(self._numbers) % self._twice_in == 0
            kept += [args["value"]] * (2 if ran_twice else 1)
            return list(kept)

    def restart(self) -> str:
        if self._forgets:
            with self._lock:
                self.kept.clear()
        return "restarted"


class Swapping(Tasks):
    """Answers each hundredth call with the answer of the call before."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        future = super().submit(function, *args, **options)
        count = self.__dict__.setdefault("count", itertools.count(1))
        last, self.last = getattr(self, "last", future), future
        return last if next(count) % 100 == 0 else future


class Repeating(Tasks):
    """Runs each hundredth call twice."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        count = self.__dict__.setdefault("count", itertools.count(1))
        if next(count) % 100 == 0:
            super().submit(function, *args, **options).result()
        return super().submit(function, *args, **options)


def of_executor(make: Callable[..., Any]) -> Any:
    return executor_pool(make, twice, wait, refuse)


def of_store(**fields: Any) -> Any:
    return callable_pool(lambda: Store(**fields), sessions=True, restart=lambda store: store.restart())


def runs(pools: object, tmp_path: Path, *names: str, calls: Calls = CALLS) -> dict[str, RunResult]:
    subject = as_subject(pools, "own:New")
    found = [each for each in scenarios_of(calls) if each.name in names]
    assert len(found) == len(names)
    return {scenario.name: run(scenario, subject, REQUEST, tmp_path) for scenario in found}


def failed(result: RunResult) -> set[str]:
    assert (result.skipped, result.trouble) == ("", "")
    return {found.checker for found in result.findings if found.verdict is Verdict.FAIL}


@pytest.mark.parametrize("make", [Tasks, ThreadPool, lambda: Tasks(2)], ids=["class", "apply_async", "factory"])
def test_a_right_executor_passes(make: Callable[..., Any], tmp_path: Path) -> None:
    for result in runs(of_executor(make), tmp_path, "calls_answers", "calls_slow", "calls_errors").values():
        assert (result.verdict, result.trouble) == (Verdict.PASS, ""), [each.claim for each in result.findings]
        assert {name for name, _ in result.not_asked} == {"clean_workers", "lives", "live_bound", "conserved"}


def test_an_executor_that_swaps_answers_is_found(tmp_path: Path) -> None:
    assert failed(runs(of_executor(Swapping), tmp_path, "calls_answers")["calls_answers"]) == {"own_answer:quick"}


def test_an_executor_that_runs_a_call_twice_is_found_by_its_journals(tmp_path: Path) -> None:
    assert failed(runs(of_executor(Repeating), tmp_path, "calls_answers")["calls_answers"]) == {"at_most_once"}


def test_a_serial_executor_is_found_from_the_outside(tmp_path: Path) -> None:
    assert failed(runs(of_executor(lambda: Tasks(1)), tmp_path, "calls_slow")["calls_slow"]) == {"parallel:slow"}


def test_an_executor_that_hides_errors_is_found(tmp_path: Path) -> None:
    def refuse(number: int) -> str:
        return "well"

    pools = executor_pool(Tasks, twice, refuse)
    assert failed(runs(pools, tmp_path, "calls_errors")["calls_errors"]) == {"reported:fails"}


def test_a_right_callable_keeps_its_sessions(tmp_path: Path) -> None:
    names = ("calls_slow", "calls_sessions", "calls_sessions_restart")
    for result in runs(of_store(), tmp_path, *names).values():
        assert (result.verdict, result.trouble) == (Verdict.PASS, ""), [each.claim for each in result.findings]


def test_a_session_that_is_lost_at_a_restart_is_found(tmp_path: Path) -> None:
    found = runs(of_store(forgets=True), tmp_path, "calls_sessions_restart")["calls_sessions_restart"]
    assert failed(found) == {"state:stateful"}


def test_a_call_of_a_session_that_runs_twice_is_found_by_its_answers(tmp_path: Path) -> None:
    assert failed(runs(of_store(twice_in=20), tmp_path, "calls_sessions")["calls_sessions"]) == {"state:stateful"}


def test_calls_of_a_callable_do_not_wait_for_each_other() -> None:
    both = threading.Barrier(2, timeout=30)
    pool = callable_pool(lambda command, args: both.wait())(PoolConfig(name="both", workers=2))
    with Tasks(2) as threads:
        found = [threads.submit(pool.execute, "meet", {}) for _ in range(2)]
        assert sorted(each.result() for each in found) == [0, 1]
    pool.close()


async def answer(request: dict[str, Any]) -> int:
    await asyncio.sleep(0)
    return 2 * int(request["number"])


class Client:
    """A client of an asyncio pool, which is entered and left in its loop."""

    left = 0

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        Client.left += 1

    async def call(self, command: str, args: dict[str, Any]) -> int:
        return await answer(args) + (1 if args["number"] == 77 else 0)


def test_a_coroutine_function_passes_and_a_wrong_client_does_not(tmp_path: Path) -> None:
    only = Calls(quick=QUICK, calls=120, slower=None)
    right = runs(async_pool(answer), tmp_path, "calls_answers", calls=only)["calls_answers"]
    assert (right.verdict, right.trouble) == (Verdict.PASS, "")
    assert failed(runs(async_pool(Client), tmp_path, "calls_answers", calls=only)["calls_answers"]) == {
        "own_answer:quick"
    }
    assert Client.left == 2  # of the run, and of the cycle before it


SERVICE = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kept = {}

    def do_GET(self):
        self.answer(200, "well")

    def do_POST(self):
        args = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.path:
            case "/twice":
                self.answer(200, 2 * args["number"])
            case "/add":
                kept = self.kept.setdefault(self.headers["X-Session"], [])
                kept.append(args["value"])
                self.answer(200, kept)
            case "/busy":
                self.answer(503, "no worker")
            case _:
                self.answer(422, f"no {args}")

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 100

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def of_service(tmp_path: Path) -> Any:
    (tmp_path / "service.py").write_text(SERVICE)
    return http_pool(
        "http://127.0.0.1:{port}/{command}",
        start=f"{sys.executable} {tmp_path / 'service.py'} {{port}}",
        health="http://127.0.0.1:{port}/",
        session_header="X-Session",
        restart=True,
    )


def test_a_service_passes_but_for_the_sessions_that_it_keeps_in_memory(tmp_path: Path) -> None:
    names = ("calls_answers", "calls_errors", "calls_sessions_restart")
    found = runs(of_service(tmp_path), tmp_path, *names)
    assert failed(found["calls_answers"]) == failed(found["calls_errors"]) == set()
    assert failed(found["calls_sessions_restart"]) == {"state:stateful"}


def test_a_service_without_a_worker_is_no_error_of_the_command(tmp_path: Path) -> None:
    pool = of_service(tmp_path)(PoolConfig(name="service", workers=1))
    try:
        with pytest.raises(WorkerCrashed, match="status 503"):
            pool.execute("busy", {})
        assert pool.execute("twice", {"number": 4}) == 8
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: executor_pool(Tasks), "at least one function"),
        (lambda: executor_pool(Tasks, twice, twice), "no two functions of the same name"),
        (lambda: http_pool("nowhere"), "'nowhere' is no URL"),
        (lambda: http_pool("http://127.0.0.1:{port}/"), "leaves the port open"),
        (lambda: http_pool("http://127.0.0.1/", restart=True), "give start="),
        (lambda: callable_pool(3), "3 cannot be called"),  # type: ignore[arg-type]
        (lambda: Calls(), "has no call; its roles are quick"),
        (lambda: Calls(quick=QUICK, calls=0), "calls=0"),
        (lambda: Calls(quick=QUICK, slower=20), "10 % is 0.1"),
        (lambda: Calls(once=call("f")), "'once' needs matches="),
        (lambda: Calls(stateful=call("f")), "'stateful' needs expects="),
        (lambda: call(3), "is no call"),  # type: ignore[arg-type]
        (lambda: call("f", lambda n: n).request(1), "a dict is needed"),  # type: ignore[arg-type,return-value]
    ],
)
def test_what_is_wrong_is_said(make: Callable[[], object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        make()


def test_the_catalogue_is_not_run_on_a_pool_that_runs_other_commands() -> None:
    from poolproof.scenarios import CATALOGUE

    subject = as_subject(of_executor(Tasks), "own:New")
    assert "does not know the command" in why_skipped(CATALOGUE["parallel_calls"], subject, REQUEST)
    assert Capability.EVENTS not in subject.capabilities


def test_the_roles_run_on_a_pool_of_the_interface_too(tmp_path: Path) -> None:
    echo = call("echo", lambda n: {"value": n}, matches=lambda request, answer: answer == request["value"])
    [scenario] = [
        each for each in scenarios_of(Calls(quick=echo, calls=40, slower=None)) if each.name == "calls_answers"
    ]
    result = run(scenario, find_pool("v2"), msgspec.structs.replace(REQUEST, observed=True), tmp_path)
    assert (result.verdict, result.not_asked, result.trouble) == (Verdict.PASS, (), "")


def test_a_nonce_proves_an_answer(tmp_path: Path) -> None:
    named = Calls(quick=call("mark", lambda n: {}, nonce="id"), calls=20, slower=None)

    def mark(id: str) -> dict[str, str]:
        return {"id": id if not id.endswith("-7") else "another"}

    result = runs(executor_pool(Tasks, mark), tmp_path, "calls_answers", calls=named)["calls_answers"]
    assert failed(result) == {"own_answer:quick"}
    assert "whose 'id' is not the request's" in json.dumps(result.findings[0].examples)
