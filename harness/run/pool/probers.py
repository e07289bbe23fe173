"""Makes the clients of the calls that probe a pool, each with numbers of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from poolproof.harness.model.workload import Step

MakeClient = Callable[[int, tuple[Step, ...], int], threading.Thread]
"""Makes a client from its number, its steps and the index of its first operation."""


class Probers:
    """Clients with consecutive numbers, whose operations have consecutive indexes."""

    def __init__(self, make: MakeClient, *, first_client: int, first_index: int) -> None:
        self._make = make
        self._number = first_client
        self._index = first_index

    def client(self, *steps: Step) -> threading.Thread:
        """Return the next client, which makes these steps one after another once it is started."""
        client = self._make(self._number, steps, self._index)
        self._number += 1
        self._index += len(steps)
        return client

    def run_all(self, steps: Iterable[Step]) -> None:
        """Make each of the steps in a client of its own, all at once, and wait until they have ended."""
        clients = [self.client(step) for step in steps]
        for client in clients:
            client.start()
        for client in clients:
            client.join()  # each of their calls has a limit
