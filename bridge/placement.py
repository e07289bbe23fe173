"""Where the workers of a pool run, if not as children of its own process. Pure: options and their limits.

A placement names the nodes; `poolproof.bridge.remote` starts the workers there.
"""

from __future__ import annotations

import msgspec

from poolproof.bridge.errors import ConfigError

STRATEGIES = ("spread", "pack")
MOST_PER_NODE = 1024


class Agents(msgspec.Struct, frozen=True, kw_only=True, tag="agents"):
    """Agents that somebody has started: `python -m poolproof.bridge.remote.agent` on each node.

    `addresses` are "host:port". The environment variable `token_variable` has the token that the agents were given.
    A node gets at most `workers_per_node` workers (None: no limit); "spread" gives the next worker to the node that has
    the fewest, "pack" to the first that has room. If a node and the pool hear nothing from each other for `silence_s`
    seconds, the pool counts its workers on that node as ended; see docs/how-to/nodes.md.
    """

    addresses: tuple[str, ...]
    token_variable: str = "POOLPROOF_TOKEN"
    workers_per_node: int | None = None
    strategy: str = "spread"
    silence_s: float = 5.0

    def __post_init__(self) -> None:
        if isinstance(self.addresses, str) or not self.addresses:
            raise ConfigError(f"addresses {self.addresses!r}: must be a sequence of 'host:port', and not empty")
        for address in self.addresses:
            split_address(address)
        _check(self)


class Ray(msgspec.Struct, frozen=True, kw_only=True, tag="ray"):
    """Nodes of a Ray cluster: Ray places an actor with an agent on each node, and restarts it. Needs `poolproof[ray]`.

    `address` is that of `ray.init`; a program that has called it already keeps its connection. `resources` are what one
    worker needs; an actor reserves `workers_per_node` times as much. `nodes` is how many agents there are (None: one a
    node of the cluster, as far as the workers need them). `bind` is the address at which the agents listen:
    "loopback" (all nodes are on this machine) or "node" (the node's address in the cluster; the streams are not
    encrypted, so only in a network that you trust). `start_timeout_s` is how long the pool waits for its agents; then
    it begins with those that are there. The other options are those of Agents.
    """

    address: str = "auto"
    resources: dict[str, float] = msgspec.field(default_factory=lambda: {"CPU": 1.0})
    nodes: int | None = None
    workers_per_node: int | None = None
    strategy: str = "spread"
    bind: str = "loopback"
    silence_s: float = 5.0
    start_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.bind not in ("loopback", "node"):
            raise ConfigError(f"bind {self.bind!r}: must be 'loopback' or 'node'")
        if not isinstance(self.resources, dict) or not all(
            isinstance(name, str) and isinstance(amount, int | float) and amount >= 0
            for name, amount in self.resources.items()
        ):
            raise ConfigError(f"resources {self.resources!r}: must be names with amounts of 0 or more")
        if self.nodes is not None and not (isinstance(self.nodes, int) and 1 <= self.nodes <= MOST_PER_NODE):
            raise ConfigError(f"nodes {self.nodes!r}: must be None or a whole number from 1 to {MOST_PER_NODE}")
        _check(self)


Placement = Agents | Ray


def split_address(address: str) -> tuple[str, int]:
    """Return the host and the port of "host:port". Raises ConfigError."""
    host, colon, port = str(address).rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"address {address!r}: must be 'host:port', with a port from 1 to 65535")
    return host.strip("[]"), int(port)


def _check(placement: Placement) -> None:
    limit = placement.workers_per_node
    if limit is not None and not (isinstance(limit, int) and 1 <= limit <= MOST_PER_NODE):
        raise ConfigError(f"workers_per_node {limit!r}: must be None or a whole number from 1 to {MOST_PER_NODE}")
    if placement.strategy not in STRATEGIES:
        raise ConfigError(f"strategy {placement.strategy!r}: must be one of {', '.join(STRATEGIES)}")
    if not isinstance(placement.silence_s, int | float) or not 0.5 <= placement.silence_s <= 3600:
        raise ConfigError(f"silence_s {placement.silence_s!r}: must be 0.5 to 3600 seconds")
