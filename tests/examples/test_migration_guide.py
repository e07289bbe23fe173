"""Every command of the migration guide, in order, on two processes of the example under load, one of them killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poolproof.harness.cli.app import main
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "how-to" / "migration-guide.md"
SKIPPED = "validate"
"""It measures for minutes, and has tests of its own."""
QUIET = "[migration.guardrails]\nlatency_slack_s = 60\n"
"""This machine is not the test's own."""


class Client(threading.Thread):
    """One client of one process: echoes and a session, every answer checked. Ends when it is told or refused."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.over = threading.Event()
        self.done = 0
        self.wrong: list[str] = []
        self.start()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        values: list[int] = []
        with contextlib.suppress(OSError, http.client.HTTPException):  # its process was killed
            while not self.over.is_set():
                self.over.wait(0.02)  # no rush: the processor is for the migration
                self.done += 1
                self._ask(connection, "/echo", self.done, self.done)
                values.append(self.done)
                self._ask(connection, f"/sessions/of-{self.port}-{values[0]}/append", self.done, values)
                if len(values) == 5:
                    connection.request("DELETE", f"/sessions/of-{self.port}-{values[0]}")
                    connection.getresponse().read()
                    values = []
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, path: str, value: int, expected: object) -> None:
        connection.request("POST", path, json.dumps({"value": value}))
        response = connection.getresponse()
        body = json.loads(response.read())
        if response.status != 200 or body["value"] != expected:
            self.wrong.append(f"{path} {value}: {response.status} {body}")


class Service:
    """A process of the example, started by the guide's own line, with a client."""

    def __init__(self, line: str, folder: Path, environment: dict[str, str]) -> None:
        words = shlex.split(line.removesuffix("&"))
        assert words[:2] == ["python", "examples/migrated_service.py"]
        words[:2] = [sys.executable, str(ROOT / words[1])]
        words[words.index("--port") + 1] = "0"
        environment = os.environ | environment
        self.process = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"port (\d+)", self.process.stdout.readline())
        assert found is not None
        self.client = Client(int(found[1]))

    def report(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.client.port}/migration", timeout=60) as answer:
            return dict(json.loads(answer.read())["value"])

    def end(self, signum: signal.Signals = signal.SIGTERM) -> None:
        if signum is signal.SIGTERM:
            self.client.over.set()
            self.client.join(60)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signum)
        self.process.communicate(timeout=60)
        self.client.join(60)


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient_environment: dict[str, str]
) -> Iterator[Callable[[str], Service]]:
    """Start a service in a new folder, as a user without migrations; ended at the end."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "poolproof.toml").write_text(QUIET)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # commands run in another folder than the service
    made: list[Service] = []

    def run(line: str) -> Service:
        made.append(Service(line, tmp_path / "service", patient_environment))
        return made[-1]

    yield run
    for service in made:
        service.end(signal.SIGKILL)


def _lines() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_the_guides_commands_lead_two_processes_there_and_back_though_one_is_killed(
    start: Callable[[str], Service], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _lines()
    services = [start(line) for line in lines if line.startswith("python ")]
    assert len(services) == 2
    commands = [shlex.split(line) for line in lines if line.startswith("poolproof ") and SKIPPED not in line]
    assert len(services) + len(commands) + 1 == len(lines), "every line was run, but for one"

    def status() -> dict[str, Any]:
        main(["migrate", "status", "--json"])
        return dict(json.loads(capsys.readouterr().out))

    def served(service: Service) -> dict[str, int]:
        return dict(service.report()["served"]["calls"])

    def is_true(count: int = 2) -> None:
        # What status says of each process is what the process itself says and serves.
        found = status()
        living = [one for one in found["survey"]["followers"] if one["life"] == "following"]
        assert len(living) == count
        if found["sequence"]:
            assert {one["record"]["position"] for one in living} == {found["position"]}
        for service in services:
            if service.process.poll() is None:
                assert service.report()["position"] == (found["position"] or "v1")
                goal = sum(served(service).values()) + 8
                wait_until(lambda: sum(served(service).values()) >= goal, "it serves")  # noqa: B023
                calls = served(service)
                assert (calls["v1"] > 0, calls["v2"] > 0) == {
                    "v1": (True, False),
                    "shadow": (True, False),
                    "v2": (False, True),
                }.get(found["position"] or "v1", (True, calls["v2"] > 0)), found["position"]

    killed = False
    for words in commands:
        assert words[:2] == ["poolproof", "migrate"]
        if words[2] == "finish":
            wait_until(
                lambda: all(
                    "v1" not in one["record"]["sessions"]
                    for one in status()["survey"]["followers"]
                    if one["life"] == "following"
                ),
                "every session has moved",
            )
        assert main(words[1:]) == 0, words
        assert "2 of 2 processes follow" in capsys.readouterr().out or words[2] in ("log", "status")
        is_true()
        if words[2:] == ["canary", "25"] and not killed:
            killed = True
            gone = services.pop()
            gone.end(signal.SIGKILL)
            assert gone.client.wrong == []
            assert main(words[1:]) == 0, "who is dead is not waited for"
            told = capsys.readouterr().out
            assert "1 of 1 processes follow" in told
            assert f"process {gone.process.pid} on {os.uname().nodename}" in told
            assert "ended without leaving" in told
            is_true(1)
            services.append(start(lines[1]))
            assert services[-1].report()["position"] == "canary:25", "a new process follows from its begin"
            is_true()
    assert killed
    assert status()["finished"] is True
    for service in services:
        service.end()
        assert service.client.wrong == []
        assert service.client.done > 20
    assert main(["migrate", "status"]) == 3
    assert "no process follows" in capsys.readouterr().err
