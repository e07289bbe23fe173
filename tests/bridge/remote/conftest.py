"""Agents on this machine, a pool on them, and a network between that can be held up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from poolproof.bridge import PoolConfig
from poolproof.bridge.placement import Agents
from poolproof.pool_v2 import PoolV2

TOKEN = "a token of these tests, 32 bytes."
COMMAND = (sys.executable, "-P", "-m", "poolproof.bridge.remote.agent")


class AgentProcess:
    """An agent in a process of its own. `address` is where it listens."""

    def __init__(self, token: str = TOKEN) -> None:
        self.process = subprocess.Popen(
            COMMAND, stdout=subprocess.PIPE, text=True, env={**os.environ, "POOLPROOF_TOKEN": token}
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[-1]

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
        self.process.terminate()
        status = self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class Network:
    """A TCP proxy in front of an agent, at `target`. `cut` holds all bytes back, in both directions, until `heal`."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self.target = host, int(port)
        self._passes = threading.Event()
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._begin(self._accept)

    def cut(self) -> None:
        self._passes.clear()

    def heal(self) -> None:
        self._passes.set()

    def close(self) -> None:
        self._passes.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _begin(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                try:
                    far = socket.create_connection(self.target)
                except OSError:
                    near.close()
                    continue
                self._sockets.append(far)
                for each in (near, far):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._begin(self._carry, near, far)
                self._begin(self._carry, far, near)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._passes.wait()
                target.sendall(data)
        self._passes.wait()
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    """The token of pools and agents."""
    monkeypatch.setenv("POOLPROOF_TOKEN", TOKEN)
    return TOKEN


@pytest.fixture
def start_agent() -> Iterator[Callable[..., AgentProcess]]:
    """Start an agent; it is ended after the test."""
    agents: list[AgentProcess] = []

    def start(**options: Any) -> AgentProcess:
        agents.append(AgentProcess(**options))
        return agents[-1]

    yield start
    for agent in agents:
        agent.end()


@pytest.fixture
def between() -> Iterator[Callable[[AgentProcess], Network]]:
    """Put a network before an agent."""
    networks: list[Network] = []

    def put(agent: AgentProcess) -> Network:
        networks.append(Network(agent.address))
        return networks[-1]

    yield put
    for network in networks:
        network.close()


@pytest.fixture
def pool_on() -> Iterator[Callable[..., PoolV2]]:
    """Open a pool on agents or networks."""
    pools: list[PoolV2] = []

    def open_pool(*nodes: AgentProcess | Network, placed: dict[str, Any] | None = None, **options: Any) -> PoolV2:
        placement = Agents(addresses=tuple(node.address for node in nodes), **(placed or {}))
        pools.append(PoolV2(PoolConfig(placement=placement, **options)))
        return pools[-1]

    yield open_pool
    for pool in pools:
        pool.close()
