"""A pool on a Ray cluster of three nodes, all on this machine. Skipped where Ray is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from poolproof.bridge import PoolConfig
from poolproof.bridge.errors import ConfigError
from poolproof.bridge.placement import Ray
from poolproof.pool_v2 import PoolV2
from tests.bridge.remote.test_agents import read_again, wait_until_full
from tests.waiting import wait_until_gone

START_S = 240.0
"""The limit of a cluster's start on a loaded machine, in seconds."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of three nodes with four processors each; its start is tried twice."""
    ray = pytest.importorskip("ray")
    utils: Any = import_module("ray.cluster_utils")
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    for attempt in (1, 2):
        try:
            made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
            for _ in range(2):
                made.add_node(num_cpus=4)
            break
        except Exception:
            if attempt == 2:
                raise
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_pool_on_ray_goes_on_when_a_node_is_lost(cluster: Any) -> None:
    placement = Ray(address=cluster.address, workers_per_node=2, start_timeout_s=START_S)
    with PoolV2(PoolConfig(workers=6, placement=placement, start_timeout_s=60.0)) as pool:
        assert pool.warm_up() == 6
        assert [pool.execute("echo", {"value": n}) for n in range(20)] == [*range(20)]
        for key in "abcdef":
            pool.execute_in_session(key, "put", {"key": "k", "value": key}, timeout_s=60)
        lost = cluster.add_node(num_cpus=4)  # where the agent of a lost node finds its place again
        assert lost is not None
        cluster.remove_node(next(node for node in cluster.worker_nodes if node is not lost))
        for key in "abcdef":
            assert read_again(pool, key) == key
        wait_until_full(pool, 6)
        pids = [worker.pid for worker in pool.status().workers]
    for pid in pids:
        wait_until_gone(pid)


def test_no_worker_on_ray_outlives_a_program_that_was_killed(cluster: Any) -> None:
    source = (
        "import time\n"
        "from poolproof import PoolConfig, PoolV2\n"
        "from poolproof.bridge.placement import Ray\n"
        f"placement = Ray(address={cluster.address!r}, workers_per_node=1, start_timeout_s={START_S})\n"
        "pool = PoolV2(PoolConfig(workers=2, placement=placement, start_timeout_s=60.0))\n"
        "pool.warm_up()\n"
        "print(*(worker.pid for worker in pool.status().workers), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        pids = [int(word) for word in program.stdout.readline().split()]
        program.kill()
    assert len(pids) == 2
    for pid in pids:
        wait_until_gone(pid)


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray is not installed; install poolproof\[ray\]"):
        PoolV2(PoolConfig(placement=Ray()))
