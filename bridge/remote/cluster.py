"""The agents of a pool on a Ray cluster: Ray places one actor on each node, restarts it, and knows its address.

Ray carries no call: an actor only starts the agent. The actors belong to this program's job, so they end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from importlib import import_module
from typing import Any

from poolproof.bridge.errors import ConfigError, StartFailed
from poolproof.bridge.placement import Ray
from poolproof.bridge.remote.agent import Agent
from poolproof.bridge.remote.nodes import Address

LOOK_S = 2.0
"""How long an actor may take to say where it listens, in seconds; then it counts as not there for now."""
TOKEN_BYTES = 32


class AgentActor:
    """The Ray actor of one node. It runs the agent in a thread."""

    def __init__(self, token: bytes, bind: str) -> None:
        host = "127.0.0.1" if bind == "loopback" else _node_address()
        self._agent = Agent(token, host=host)
        threading.Thread(target=lambda: asyncio.run(self._agent.serve()), name="poolproof-agent", daemon=True).start()

    def address(self) -> Address:
        """Return the address at which the agent listens."""
        return self._agent.address


class RayCluster:
    """The placement group and the actors of one pool."""

    def __init__(self, placement: Ray, *, workers: int) -> None:
        """Ask Ray for the actors; does not wait for them. Raises ConfigError without Ray, and StartFailed."""
        try:
            self._ray = ray = import_module("ray")
            groups: Any = import_module("ray.util.placement_group")
            strategies: Any = import_module("ray.util.scheduling_strategies")
        except ImportError as error:
            raise ConfigError("placement Ray(...): Ray is not installed; install poolproof[ray]") from error
        self.token = secrets.token_bytes(TOKEN_BYTES)
        try:
            if not ray.is_initialized():
                ray.init(address=placement.address, log_to_driver=False)
            count = placement.nodes or sum(bool(node["Alive"]) for node in ray.nodes())
            per_node = placement.workers_per_node or -(-workers // count)
            if placement.workers_per_node is not None and placement.nodes is None:
                count = min(count, -(-workers // per_node)) or 1
            self.nodes = count
            reserved = {name: amount * per_node for name, amount in placement.resources.items() if amount}
            # A bundle must reserve something.
            bundle = reserved or {"CPU": 0.001}
            strategy = "SPREAD" if placement.strategy == "spread" else "PACK"
            self._group = groups.placement_group([dict(bundle) for _ in range(count)], strategy=strategy)
            actor = ray.remote(max_restarts=-1)(AgentActor)
            rest = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU")}
            self._actors = [
                actor.options(
                    num_cpus=bundle.get("CPU", 0),
                    num_gpus=bundle.get("GPU", 0),
                    resources=rest,
                    scheduling_strategy=strategies.PlacementGroupSchedulingStrategy(
                        placement_group=self._group, placement_group_bundle_index=number
                    ),
                ).remote(self.token, placement.bind)
                for number in range(count)
            ]
        except (OSError, RuntimeError, ValueError) as error:  # the classes of Ray's own errors at a start
            raise StartFailed(f"placement Ray(address={placement.address!r}): {error}") from error

    def find(self) -> list[Address]:
        """Return the addresses of the agents that answer within `LOOK_S` seconds."""
        asked: dict[Any, None] = {actor.address.remote(): None for actor in self._actors}
        ready, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=LOOK_S)
        found = []
        for answer in ready:
            with contextlib.suppress(self._ray.exceptions.RayError):  # the actor is being restarted
                host, port = self._ray.get(answer)
                found.append((str(host), int(port)))
        return found

    def close(self) -> None:
        """End the actors, and give back what they have reserved."""
        groups: Any = import_module("ray.util.placement_group")
        with contextlib.suppress(self._ray.exceptions.RayError):
            for actor in self._actors:
                self._ray.kill(actor)
            groups.remove_placement_group(self._group)


def _node_address() -> str:
    util: Any = import_module("ray.util")
    return str(util.get_node_ip_address())
