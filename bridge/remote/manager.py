"""The worker processes of a pool whose workers run on other nodes (`poolproof.bridge.placement`).

The pool's name, its run directory and what its workers print stay on this machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from poolproof.bridge.config import PoolConfig
from poolproof.bridge.errors import ConfigError
from poolproof.bridge.placement import Agents, Placement, split_address
from poolproof.bridge.processes.process_manager import ProcessManager
from poolproof.bridge.remote.cluster import RayCluster
from poolproof.bridge.remote.nodes import Address, Nodes
from poolproof.bridge.remote.protocol import PYTHON
from poolproof.bridge.remote.worker import RemoteChannel
from poolproof.bridge.wire.messages import INIT_ID, encode_request

AGENTS_WAIT_S = 10.0
"""How long a pool waits for agents that a user has started (not Ray), in seconds."""


class RemoteProcessManager(ProcessManager):
    """Starts workers through the agents of other nodes. The constructor waits until all agents are connected or
    have failed, and begins with the connected ones.

    Raises ConfigError, and StartFailed if no agent can be reached.
    """

    def __init__(self, config: PoolConfig, placement: Placement, *, version: str) -> None:
        super().__init__(config, version=version)
        self._nodes: Nodes | None = None
        self._cluster: RayCluster | None = None
        try:
            find, token, count, wait_s = self._open(placement)
            self._nodes = Nodes(
                self.name,
                find,
                token,
                count=count,
                workers_per_node=placement.workers_per_node,
                strategy=placement.strategy,
                silence_s=placement.silence_s,
            )
            self._nodes.await_room(config.workers, wait_s)
        except BaseException:
            self.shut_down()
            raise

    def _open(self, placement: Placement) -> tuple[Callable[[], Sequence[Address]], bytes, int, float]:
        if isinstance(placement, Agents):
            addresses = [split_address(address) for address in placement.addresses]
            return lambda: addresses, _token(placement.token_variable), len(addresses), AGENTS_WAIT_S
        self._cluster = cluster = RayCluster(placement, workers=self._config.workers + self._config.overflow)
        return cluster.find, cluster.token, cluster.nodes, placement.start_timeout_s

    def spawn(self, worker_id: int) -> RemoteChannel:
        """Request one worker from the agent of a node; its init ping is on its way. Raises StartFailed."""
        assert self._nodes is not None
        command = [PYTHON if word == sys.executable else word for word in self._environment.command()]
        env, _ = self._environment.of_spawned(worker_id)
        limit_bytes = self._config.max_frame_bytes
        process = self._nodes.spawn(
            worker_id,
            command,
            env,
            ping=bytes(encode_request(INIT_ID, "ping", {}, limit_bytes=limit_bytes)),
            memory_bytes=self._config.hard_memory_bytes,
        )
        tail = self._printed.watch(process.stderr_fd, f"worker-{worker_id}")
        return RemoteChannel(process, tail, limit_bytes=limit_bytes, abilities=self.abilities)

    def shut_down(self) -> None:
        """Release the pool's name and its nodes, after all workers are reaped. Idempotent."""
        if self._nodes is not None:
            self._nodes.close()
        if self._cluster is not None:
            self._cluster.close()
        super().shut_down()


def _token(variable: str) -> bytes:
    token = os.environb.get(variable.encode(), b"")
    if not token:
        raise ConfigError(f"token_variable {variable!r}: this environment variable is not set")
    return token
