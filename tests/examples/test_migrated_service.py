"""The example service is migrated live, under load: shadow, canary, a fault in v2, back by itself, mended, v2."""

from __future__ import annotations

import http.client
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from poolproof.bridge import PoolConfig
from poolproof.harness.cli.app import main
from poolproof.migration import Guardrails, MigratingPool, Plan
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2
from tests.waiting import wait_until

FILE = Path(__file__).parent.parent.parent / "examples" / "migrated_service.py"
HARD_LIMIT_S = 60.0
CLIENTS = 4
SESSIONS = 4
LIFE = 24
"""A client ends its sessions after so many rounds, and begins others."""
MORE = 25
"""Requests that are waited for in each phase."""


@pytest.fixture
def example() -> Iterator[ModuleType]:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("migrated_service", FILE)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    sys.modules["migrated_service"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["migrated_service"]


class Candidate(PoolV2):
    """V2, which notes whom it serves; with the planted fault, each call ends its worker."""

    faulty = False

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self.served: set[str] = set()

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        self.served.add(str((args or {}).get("value")))
        return super().execute("exit" if self.faulty else command, args, **options)


class Load:
    """Clients that ask the service and check each answer, until they are stopped."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stopped = threading.Event()
        self.done = 0
        self.rounds = [0] * CLIENTS
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HARD_LIMIT_S)
        held: dict[str, list[str]] = {}
        number = 0
        while not self._stopped.is_set():
            number += 1
            self.rounds[client] = number
            nonce = f"{client}/{number}"
            self._ask(connection, "/echo", nonce, nonce)
            session, nonce = f"client-{client}-{number // LIFE}-{number % SESSIONS}", f"{client}/{number}/s"
            values = held.setdefault(session, [])
            if self._ask(connection, f"/sessions/{session}/append", nonce, [*values, nonce]):
                values.append(nonce)  # what had no answer is not in it
            if number % LIFE == LIFE - 1:
                for session in held:
                    connection.request("DELETE", f"/sessions/{session}")
                    assert json.loads(connection.getresponse().read()) in ({"value": True}, {"value": False})
                held.clear()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, path: str, nonce: str, expected: object) -> bool:
        connection.request("POST", path, json.dumps({"value": nonce}))
        response = connection.getresponse()
        body = json.loads(response.read())
        self.done += 1
        if response.status != 200:
            self.failed.append(nonce)
        elif body["value"] != expected:
            self.wrong.append(f"{nonce}: {body['value']} in place of {expected}")
        return response.status == 200

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(HARD_LIMIT_S)
            assert not thread.is_alive(), "a request never ended"


def test_the_service_is_migrated_live_and_only_the_canary_pays_for_a_fault(example: ModuleType, tmp_path: Path) -> None:
    state = str(tmp_path / "migration.json")
    told: list[str] = []
    config = PoolConfig(workers=2)
    faulty, mended = Candidate(config), Candidate(config)
    limits = Guardrails(max_latency_ratio=10**6, latency_slack_s=60)  # this machine is not the test's own
    plan = Plan(state_file=state, idempotent=frozenset({"echo"}), guardrails=limits)
    pool = MigratingPool(PoolV1(config), faulty, plan, on_change=lambda moved: told.append(f"{moved.after}"))

    def migrate(*words: str) -> None:
        assert main(["migrate", *words, "--state", state]) == 0

    with pool, example.Service(pool) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        load = Load(service.server_address[1])

        def serve(position: str) -> None:
            wait_until(lambda: str(pool.position) == position, position)
            goal = load.done + MORE
            wait_until(lambda: load.done >= goal, f"{MORE} requests in {position}")

        serve("v1")
        assert not faulty.served
        migrate("start")
        serve("shadow")
        wait_until(lambda: pool.report().shadow.compared >= 5, "copies were compared")
        assert pool.report().shadow.mismatches == 0
        migrate("canary", "25", "--why", "the shadow agreed")
        serve("canary:25")
        wait_until(lambda: pool.report().sessions.get("v2"), "a session lives on v2")
        assert not load.failed

        faulty.faulty = True
        wait_until(lambda: str(pool.position) == "v1", "the rollback, which nobody asked for")
        assert "errors:" in pool.report().last_breach
        begun = list(load.rounds)
        wait_until(
            lambda: all(now > then + 1 for now, then in zip(load.rounds, begun, strict=True)), "what ran has ended"
        )
        failed = len(load.failed)
        serve("v1")
        assert set(load.failed) <= faulty.served, "a request failed that was not the canary's"
        assert len(load.failed) == failed > 0, "a request failed after the rollback"

        pool.replace_candidate(mended)
        migrate("start")
        serve("shadow")
        migrate("canary", "25")
        serve("canary:25")
        migrate("promote")
        serve("canary:50")
        migrate("promote")
        serve("v2")
        goal = len(mended.served) + MORE
        wait_until(lambda: len(mended.served) >= goal, "v2 serves")
        wait_until(lambda: "v1" not in pool.report().sessions, "every session has moved")
        load.stop()
        service.shutdown()
        assert len(load.failed) == failed
        assert load.wrong == []
        assert told == ["shadow", "canary:25", "v1", "shadow", "canary:25", "canary:50", "v2"]
        statistics = pool.status().statistics
        assert statistics.in_flight == 0
        assert statistics.outcomes == {"result": load.done - failed, "WorkerCrashed": failed}
    log = (tmp_path / "migration.json.log").read_text()
    assert "guardrail" in log
    assert "WorkerCrashed" in log


def test_the_example_makes_its_own_pool(example: ModuleType, tmp_path: Path) -> None:
    with example.make_pool(state_file=str(tmp_path / "state.json")) as pool, example.Service(pool) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        connection = http.client.HTTPConnection("127.0.0.1", service.server_address[1], timeout=HARD_LIMIT_S)
        for method, path, body, expected in (
            ("POST", "/echo", {"value": 1}, 1),
            ("POST", "/sessions/a/append", {"value": 1}, [1]),
            ("DELETE", "/sessions/a", None, True),
            ("POST", "/sessions/a/append", {"value": 2}, [2]),
        ):
            connection.request(method, path, None if body is None else json.dumps(body))
            assert json.loads(connection.getresponse().read())["value"] == expected
        connection.request("GET", "/migration")
        assert json.loads(connection.getresponse().read())["value"]["position"] == "v1"
        connection.close()
        service.shutdown()
