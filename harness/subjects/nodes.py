"""V2 with its workers on other nodes: two agents of this run on this machine, or the agents of a Ray cluster.

The agents outlive every pool of the run and end with its process.
"""

from __future__ import annotations

import atexit
import os
import secrets
from collections.abc import Callable
from functools import cache

import msgspec

from poolproof.bridge import Observer, PoolConfig, PoolError
from poolproof.bridge.config import module_command
from poolproof.bridge.placement import Agents, Placement, Ray
from poolproof.bridge.processes.process import WorkerProcess
from poolproof.pool_v2 import PoolV2

NODES = 2
TOKEN_VARIABLE = "POOLPROOF_NODES_TOKEN"
END_WAIT_S = 5.0
_STARTED: list[WorkerProcess] = []
COMMAND = module_command("poolproof.bridge.remote.agent")


def on_agents(config: PoolConfig, observer: Observer | None) -> PoolV2:
    """Make a pool whose workers run on the agents of this process."""
    return _placed(config, observer, _agents)


def on_ray(config: PoolConfig, observer: Observer | None) -> PoolV2:
    """Make a pool whose workers run on the Ray cluster that RAY_ADDRESS names, or that runs on this machine."""
    return _placed(
        config, observer, lambda: Ray(address=os.environ.get("RAY_ADDRESS", "auto"), resources={"CPU": 0.01})
    )


def _placed(config: PoolConfig, observer: Observer | None, place: Callable[[], Placement]) -> PoolV2:
    return PoolV2(msgspec.structs.replace(config, placement=place()), observer=observer)


def end_agents() -> None:
    """End the agents of this process, if it has started any."""
    _agents.cache_clear()
    while _STARTED:
        agent = _STARTED.pop()
        agent.kill()
        agent.exited(END_WAIT_S)
        agent.reap()
        agent.close()
        os.close(agent.stderr_fd)


atexit.register(end_agents)


@cache
def _agents() -> Agents:
    token = os.environ.setdefault(TOKEN_VARIABLE, secrets.token_hex(16))
    env = {**os.environ, "POOLPROOF_TOKEN": token}
    started = [WorkerProcess.spawn(number, COMMAND, env) for number in range(NODES)]
    _STARTED.extend(started)
    return Agents(addresses=tuple(_address_of(agent) for agent in started), token_variable=TOKEN_VARIABLE)


def _address_of(agent: WorkerProcess) -> str:
    with open(agent.stdout_fd, closefd=False) as told:
        words = told.readline().split()
    if not words:
        raise PoolError("an agent could not be started on this machine")
    return words[-1]
