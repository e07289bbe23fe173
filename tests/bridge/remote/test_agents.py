"""Pools on agents: every way in works as on this machine; a network and another node cost the calls that they must."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from poolproof.bridge import CallTimeout, ConfigError, PoolConfig, Sent, WorkerCrashed
from poolproof.bridge.errors import PoolError, StartFailed
from poolproof.bridge.placement import Agents, Ray
from poolproof.pool_v2 import AsyncPool, PoolExecutor, PoolV2
from tests.bridge.remote.conftest import COMMAND, AgentProcess, Network
from tests.waiting import Holdings, stop, wait_until, wait_until_gone

Start = Callable[..., AgentProcess]
OpenPool = Callable[..., PoolV2]
Between = Callable[[AgentProcess], Network]


def workers_of(agent: AgentProcess) -> list[int]:
    return [child.pid for child in psutil.Process(agent.pid).children()]


def wait_until_full(pool: PoolV2, size: int) -> None:
    wait_until(lambda: sum(w.state == "idle" for w in pool.status().workers) == size, f"{size} workers are idle")


def read_again(pool: PoolV2, session: str) -> Any:
    """Read `k` of a session; a call that is lost with its node is made again."""
    while True:
        try:
            return pool.execute_in_session(session, "get", {"key": "k"}, timeout_s=60, checkout_timeout_s=60)["value"]
        except WorkerCrashed:
            continue


# Every way in.


def test_calls_sessions_batches_and_leases_work_as_on_this_machine(start_agent: Start, pool_on: OpenPool) -> None:
    pool = pool_on(start_agent(), start_agent(), workers=4)
    assert pool.execute("echo", {"value": [1, "é"]}) == [1, "é"]
    pool.execute_in_session("s", "put", {"key": "k", "value": 1})
    assert pool.execute_in_session("s", "get", {"key": "k"})["value"] == 1
    assert pool.execute_many("echo", [{"value": n} for n in range(9)]) == [*range(9)]
    with pool.checkout() as lease:
        assert lease.execute("echo", {"value": 2}) == 2
    blob = os.urandom(3_000_000)
    assert pool.execute("echo", {"value": blob}) == blob


def test_an_asyncio_pool_and_an_executor_work_on_agents(start_agent: Start) -> None:
    placement = Agents(addresses=(start_agent().address,))

    async def call() -> list[Any]:
        async with AsyncPool(PoolConfig(workers=2, placement=placement)) as pool:
            return await asyncio.gather(*(pool.execute("echo", {"value": n}) for n in range(20)))

    assert asyncio.run(call()) == [*range(20)]
    with PoolExecutor(2, config=PoolConfig(placement=placement)) as executor:
        assert list(executor.map(abs, range(-20, 0))) == [*range(20, 0, -1)]


def test_workers_are_spread_over_the_nodes_or_packed_and_limited(start_agent: Start, pool_on: OpenPool) -> None:
    one, two = start_agent(), start_agent()
    pool = pool_on(one, two, workers=4)
    pool.warm_up()
    assert (len(workers_of(one)), len(workers_of(two))) == (2, 2)
    pool.close()
    pool = pool_on(one, two, workers=4, placed={"strategy": "pack", "workers_per_node": 3})
    pool.warm_up()
    assert sorted((len(workers_of(one)), len(workers_of(two)))) == [1, 3]


def test_a_pool_on_agents_leaves_no_descriptor_and_no_thread(start_agent: Start, pool_on: OpenPool) -> None:
    agent = start_agent()
    pool_on(agent, workers=2).close()  # what is imported and opened once
    before = Holdings()
    for _ in range(3):
        pool = pool_on(agent, workers=2)
        pool.execute("ping", {})
        pool.close()
    before.require_none_gained()
    assert workers_of(agent) == []


# What a worker does.


def test_a_worker_that_is_killed_is_replaced(start_agent: Start, pool_on: OpenPool) -> None:
    pool = pool_on(start_agent(), workers=1)
    pool.warm_up()
    pid = pool.status().workers[0].pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pool.status().workers and pool.status().workers[0].pid not in (0, pid), "it is replaced")
    assert pool.execute("ping", {})["status"] == "ok"


def test_a_call_keeps_its_deadline_though_its_worker_is_stopped(start_agent: Start, pool_on: OpenPool) -> None:
    pool = pool_on(start_agent(), workers=1)
    pool.warm_up()
    stop(pool.status().workers[0].pid)
    with pytest.raises(CallTimeout):
        pool.execute("ping", {}, timeout_s=0.2)
    assert pool.execute("ping", {})["status"] == "ok"


def test_a_command_that_a_node_cannot_execute_says_so(start_agent: Start, pool_on: OpenPool) -> None:
    pool = pool_on(start_agent(), workers=1, worker_command=("no-such-program",))
    with pytest.raises(PoolError, match="cannot execute 'no-such-program'"):
        pool.execute("ping", {}, timeout_s=20, checkout_timeout_s=10)


def test_a_worker_has_the_pools_variables_and_not_the_token(start_agent: Start, pool_on: OpenPool) -> None:
    agent = start_agent()
    pool = pool_on(agent, workers=1, env={"OF_THE_POOL": "1"})
    pool.warm_up()
    (pid,) = workers_of(agent)
    told = psutil.Process(pid).environ()
    assert told["OF_THE_POOL"] == "1"
    assert "POOLPROOF_TOKEN" not in told
    assert "POOLPROOF_TOKEN" not in " ".join(psutil.Process(agent.pid).cmdline())


# What a node does.


def test_the_death_of_an_agent_costs_its_calls_only_and_a_session_goes_on_elsewhere(
    start_agent: Start, pool_on: OpenPool
) -> None:
    agents = [start_agent(), start_agent()]
    pool = pool_on(*agents, workers=2)
    pool.warm_up()
    for key in "abcd":
        pool.execute_in_session(key, "put", {"key": "k", "value": key})
    gone = workers_of(agents[0])
    agents[0].kill()
    for pid in gone:
        wait_until_gone(pid)
    for key in "abcd":
        assert read_again(pool, key) == key  # a call may be sent before the end of the connection is noticed
    wait_until_full(pool, 2)
    assert len(workers_of(agents[1])) == 2


def test_an_agent_that_comes_back_gets_workers_again(start_agent: Start, pool_on: OpenPool, between: Between) -> None:
    agent = start_agent()
    network = between(agent)
    pool = pool_on(network, workers=1)
    pool.warm_up()
    (pid,) = workers_of(agent)
    agent.kill()
    wait_until_gone(pid)
    fresh = start_agent()
    host, port = fresh.address.rsplit(":", 1)
    network.target = host, int(port)
    wait_until_full(pool, 1)
    assert pool.execute("ping", {})["status"] == "ok"


def test_no_worker_outlives_a_program_that_was_killed(start_agent: Start, token: str) -> None:
    agent = start_agent()
    source = (
        "import sys, time\n"
        "from poolproof import PoolConfig, PoolV2\n"
        "from poolproof.bridge.placement import Agents\n"
        f"pool = PoolV2(PoolConfig(workers=2, placement=Agents(addresses=({agent.address!r},))))\n"
        "print(pool.warm_up(), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "2\n"
        pids = workers_of(agent)
        assert len(pids) == 2
        program.kill()
    for pid in pids:
        wait_until_gone(pid)


def test_an_agent_that_is_told_to_end_ends_its_workers(start_agent: Start, pool_on: OpenPool) -> None:
    agent = start_agent()
    pool = pool_on(agent, workers=2)
    pool.warm_up()
    pids = workers_of(agent)
    assert agent.end() == 0
    for pid in pids:
        wait_until_gone(pid)


def test_a_forked_child_of_the_program_keeps_no_worker_alive(start_agent: Start, pool_on: OpenPool) -> None:
    agent = start_agent()
    pool = pool_on(agent, workers=1)
    pool.warm_up()
    (pid,) = workers_of(agent)
    ended, child_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(child_end)
        os.read(ended, 1)  # lives until the test lets it go
        os._exit(0)
    os.close(ended)
    try:
        assert pool.execute("ping", {})["status"] == "ok"
        pool.close()
        wait_until_gone(pid)
    finally:
        os.close(child_end)
        os.waitpid(child, 0)


# What a network does.


def test_a_partition_shorter_than_the_silence_loses_no_answer_and_runs_nothing_twice(
    start_agent: Start, pool_on: OpenPool, between: Between
) -> None:
    network = between(start_agent())
    pool = pool_on(network, workers=1, placed={"silence_s": 60.0})
    pool.execute_in_session("s", "append", {"key": "k", "value": 0})
    network.cut()
    answers: list[Any] = []
    client = threading.Thread(
        target=lambda: answers.append(pool.execute_in_session("s", "append", {"key": "k", "value": 1}, timeout_s=60))
    )
    client.start()
    wait_until(lambda: any(w.state == "leased" for w in pool.status().workers), "the call has a worker")
    network.heal()
    client.join()
    assert len(answers) == 1
    assert pool.execute_in_session("s", "get", {"key": "k"})["value"] == [0, 1]


def test_a_call_in_a_partition_ends_at_its_deadline(start_agent: Start, pool_on: OpenPool, between: Between) -> None:
    network = between(start_agent())
    pool = pool_on(network, workers=1, placed={"silence_s": 60.0})
    pool.warm_up()
    network.cut()
    with pytest.raises(CallTimeout) as caught:
        pool.execute("ping", {}, timeout_s=0.3)
    assert caught.value.sent is not Sent.NO
    network.heal()
    assert pool.execute("ping", {})["status"] == "ok"


def test_a_node_that_is_silent_is_given_up_by_both_sides_and_a_session_never_has_two_workers(
    start_agent: Start, pool_on: OpenPool, between: Between
) -> None:
    far, near = start_agent(), start_agent()
    network = between(far)
    pool = pool_on(network, near, workers=2, placed={"silence_s": 1.0})
    pool.warm_up()
    for key in "abcd":
        pool.execute_in_session(key, "put", {"key": "k", "value": key})
    network.cut()
    wait_until(lambda: not workers_of(far), "the agent has ended the workers of the silent pool")
    for key in "abcd":
        assert read_again(pool, key) == key
    wait_until_full(pool, 2)
    assert len(workers_of(near)) == 2


def test_a_stopped_agent_counts_as_silent(start_agent: Start, pool_on: OpenPool) -> None:
    still, other = start_agent(), start_agent()
    pool = pool_on(still, other, workers=2, placed={"silence_s": 1.0})
    pool.warm_up()
    stop(still.pid)
    wait_until(lambda: len(workers_of(other)) == 2, "all workers run on the other node")
    assert pool.execute("ping", {})["status"] == "ok"


# Who may connect.


def test_a_pool_with_another_token_is_refused(start_agent: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = start_agent(token="another token of 32 characters..")
    monkeypatch.setattr("poolproof.bridge.remote.manager.AGENTS_WAIT_S", 1.0)
    with pytest.raises(StartFailed, match="does not know the token"):
        PoolV2(PoolConfig(workers=1, placement=Agents(addresses=(agent.address,))))


def test_strangers_and_garbage_change_nothing(start_agent: Start, pool_on: OpenPool) -> None:
    agent = start_agent()
    pool = pool_on(agent, workers=2)
    pool.warm_up()
    before = workers_of(agent)
    host, port = agent.address.rsplit(":", 1)
    for number in range(1000):
        with socket.create_connection((host, int(port))) as stranger:
            garbage = (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(200), b"PPR1" + os.urandom(57), b"PPR1\0" + bytes(56))
            stranger.sendall(garbage[number % len(garbage)])
    for n in range(20):
        assert pool.execute("echo", {"value": n}) == n
    assert workers_of(agent) == before
    wait_until(lambda: psutil.Process(agent.pid).num_fds() < 40, "the agent has closed their connections")


def test_strangers_that_wait_keep_no_pool_out(start_agent: Start, pool_on: OpenPool) -> None:
    agent = start_agent()
    host, port = agent.address.rsplit(":", 1)
    waiting = [socket.create_connection((host, int(port))) for _ in range(400)]
    assert pool_on(agent, workers=1).execute("ping", {})["status"] == "ok"
    for each in waiting:
        each.close()


# Options.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"addresses": ()}, "addresses"),
        ({"addresses": "host:1"}, "addresses 'host:1'"),
        ({"addresses": ("host",)}, "address 'host'"),
        ({"addresses": ("host:0",)}, "address 'host:0'"),
        ({"addresses": ("host:1",), "strategy": "random"}, "strategy 'random'"),
        ({"addresses": ("host:1",), "workers_per_node": 0}, "workers_per_node 0"),
        ({"addresses": ("host:1",), "silence_s": 0.1}, "silence_s 0.1"),
    ],
)
def test_a_wrong_option_of_agents_is_named_with_its_value(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Agents(**options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"bind": "0.0.0.0"}, "bind '0.0.0.0'"),
        ({"resources": {"CPU": -1}}, "resources"),
        ({"nodes": 0}, "nodes 0"),
    ],
)
def test_a_wrong_option_of_ray_is_named_with_its_value(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Ray(**options)


@pytest.mark.parametrize(
    "options", [{"zygote": True}, {"preload": ("json",)}, {"worker_cpus": (0,)}, {"max_memory_bytes": 2**30}]
)
def test_an_option_that_needs_this_machine_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        PoolConfig(placement=Agents(addresses=("host:1",)), **options)


def test_v1_has_no_placement() -> None:
    from poolproof.pool_v1 import PoolV1

    with pytest.raises(ConfigError, match="placement"):
        PoolV1(PoolConfig(placement=Agents(addresses=("host:1",))))


def test_a_missing_token_is_named(start_agent: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POOLPROOF_TOKEN")
    with pytest.raises(ConfigError, match="POOLPROOF_TOKEN"):
        PoolV2(PoolConfig(placement=Agents(addresses=(start_agent(token="x" * 32).address,))))


def test_an_agent_refuses_a_short_token() -> None:
    ran = subprocess.run(COMMAND, env={**os.environ, "POOLPROOF_TOKEN": "short"}, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "5 bytes" in ran.stderr
    assert "short" not in ran.stderr.replace("short token", "")
