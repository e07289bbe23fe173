"""Both pools with the original's worker, as far as the wire shows it: every command, and the worker's own reasons."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.bridge import CheckoutTimeout, CommandError, Pool, PoolConfig, StartFailed, WorkerCrashed
from poolproof.bridge.dspy.adapter import ProgramAdapter
from poolproof.bridge.errors import PoolError
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2
from tests.waiting import wait_until

BRIDGE = str(Path(__file__).with_name("dspex_worker.py"))
PLAIN = (sys.executable, "-I", "-S")
COMMAND = (*PLAIN, BRIDGE, "--mode", "pool-worker", "--worker-id", "{worker_id}")
SIGNATURE = {
    "name": "Qa",
    "inputs": [{"name": "question", "description": "what is asked", "type": "str"}],
    "outputs": [{"name": "answer", "description": "the answer"}],
}
Make = Callable[[PoolConfig], Pool]
BOTH = pytest.mark.parametrize("make", [PoolV1, PoolV2])


def config(*words: str, **options: object) -> PoolConfig:
    return PoolConfig.from_options({"workers": 2, "worker_command": (*COMMAND, *words), "close_grace_s": 0.2} | options)


@BOTH
@pytest.mark.parametrize("timestamp", ["number", "text", "none"])
def test_it_starts_with_any_timestamp(make: Make, timestamp: str) -> None:
    with make(config("--timestamp", timestamp)) as pool:
        assert pool.execute("ping")["worker_id"] in {"1", "2"}


@BOTH
@pytest.mark.parametrize("session", ["anonymous", "anna"])
def test_a_program_lives_from_its_model_to_its_deletion(make: Make, session: str) -> None:
    with make(config()) as pool:
        adapter = ProgramAdapter(pool, session)
        model = adapter.configure_lm("gemini-1.5-flash", api_key="k", provider="google", temperature=0.5)
        assert (model.status, model.model, model.temperature) == ("configured", "gemini-1.5-flash", 0.5)
        created = adapter.create_program("p", SIGNATURE)
        assert (created.signature.inputs, created.signature.outputs) == (("question",), ("answer",))
        assert adapter.execute_program("p", {"question": "why?"}).outputs == {"answer": "why?"}
        assert (adapter.list_programs().programs, adapter.list_programs().total_count) == (("p",), 1)
        assert adapter.get_stats().worker.memory_usage == 31457280
        assert adapter.delete_program("p").status == "deleted"
        assert adapter.list_programs().programs == ()
        assert [status.session_id for status in pool.sessions()] == [session]
        assert adapter.end_session() is True
        assert pool.sessions() == ()


@BOTH
def test_details_of_a_program_that_the_worker_keeps(make: Make) -> None:
    with make(config()) as pool:
        adapter = ProgramAdapter(pool, "anonymous")
        adapter.create_program("p", SIGNATURE)
        info = adapter.get_program_info("p")
        assert (info.signature.inputs, info.last_executed, info.fields) == (("question",), None, SIGNATURE)
        assert info.created_at.startswith("20")


@BOTH
def test_the_reason_of_a_refusal_is_kept(make: Make) -> None:
    with make(config()) as pool:
        adapter = ProgramAdapter(pool, "anonymous")
        with pytest.raises(CommandError, match=r"^API key is required$"):
            adapter.configure_lm("gemini-1.5-flash")
        with pytest.raises(CommandError, match="Program not found: p"):
            adapter.delete_program("p")
        adapter.create_program("p", SIGNATURE)
        with pytest.raises(CommandError, match="No LM is loaded"):
            adapter.execute_program("p", {"question": "why?"})
        with pytest.raises(CommandError, match="Failed to create program"):
            adapter.create_program("q", "question -> answer")


WRONG = (
    'import sys,struct,time; d=b\'{"id": 0, "success": "yes"}\'; sys.stdout.buffer.write(struct.pack(\'>I\',len(d))+d)'
)
MUTE = (*PLAIN, "-c", f"{WRONG}; sys.stdout.flush(); time.sleep(60)")


@BOTH
def test_a_failed_start_tells_why_a_frame_was_dropped(make: Make) -> None:
    with make(PoolConfig(workers=1, worker_command=MUTE, start_timeout_s=0.5)) as pool:
        with pytest.raises(
            PoolError, match="did not answer its init ping in time; the last frame that was dropped: it "
        ):
            pool.warm_up()
        assert not pool.health_check().healthy


def test_a_checkout_timeout_tells_that_starts_fail() -> None:
    options = {"workers": 1, "worker_command": MUTE, "start_timeout_s": 0.5, "lazy": True, "circuit_reset_s": 60.0}
    with PoolV2(PoolConfig.from_options(options | {"start_failures_to_open": 5000})) as pool:

        def reason() -> re.Match[str] | None:
            with pytest.raises(CheckoutTimeout) as caught:
                pool.execute("ping", checkout_timeout_s=0.3)
            return re.search(r"failed; the last error: .* dropped: it sent what is not a response", str(caught.value))

        # On a busy machine a worker may not have written by its limit: then a later one has.
        wait_until(reason, "the checkout's error says why a start has failed")


def test_a_checkout_timeout_tells_that_no_worker_has_started_yet() -> None:
    with PoolV2(PoolConfig(workers=1, worker_command=MUTE, start_timeout_s=30.0)) as pool:
        with pytest.raises(CheckoutTimeout, match=r"no worker has answered its init ping yet \(1 starting\)"):
            pool.execute("ping", checkout_timeout_s=0.2)


def test_the_legacy_pool_is_not_healthy_without_a_living_worker() -> None:
    with PoolV1(PoolConfig(workers=1, worker_command=("false",))) as pool:
        assert (pool.health_check().healthy, pool.health_check().live) == (False, 0)
        with pytest.raises((WorkerCrashed, StartFailed)):
            pool.execute("ping")
        health = pool.health_check()
        assert (health.healthy, health.live) == (False, 0)
        assert health.reasons[0].startswith("workers fail to start; the last error: worker 1 ")
