"""A client makes the calls of its plan in order, records each, and ends when it is asked to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import CommandError
from poolproof.bridge.clock import now_ns
from poolproof.harness.history.codec import build_history
from poolproof.harness.history.history import History
from poolproof.harness.model.face import Way, came_too_late
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.workload import Step
from poolproof.harness.run.client import Client
from poolproof.harness.run.recording.recorder import Recorder

LIMIT_S = 15.0


class Stage:
    """A recorder and a fake pool for clients, and the history that they leave."""

    def __init__(self, path: Path, pool: type, info: Any) -> None:
        self.recorder = Recorder(path)
        self.pool = pool(self.recorder.observe)
        self.stop = threading.Event()
        self._path, self._info = path, info

    def client(self, *steps: Step, number: int = 0, first: int = 0, seed: int = 1) -> Client:
        return Client(
            number,
            steps,
            pool=self.pool,
            recorder=self.recorder,
            first_index=first,
            begin_ns=now_ns(),
            seed=seed,
            stop=self.stop,
        )

    def play(self, *steps: Step, **fields: Any) -> History:
        client = self.client(*steps, **fields)
        client.start()
        client.join(LIMIT_S)
        assert not client.is_alive()
        return self.history()

    def history(self) -> History:
        self.recorder.close()
        return build_history(self._info, self._path.read_bytes().splitlines(), [])


@pytest.fixture
def stage(tmp_path: Path, fake_pool: type, build: Any) -> Iterator[Stage]:
    """A stage that is always cleared."""
    stage = Stage(tmp_path / "history.jsonl", fake_pool, build.info())
    yield stage
    stage.stop.set()
    stage.recorder.close()


def test_calls_are_made_in_order_with_a_nonce_each(stage: Stage) -> None:
    history = stage.play(*(Step(command="echo", args={"n": n}) for n in range(3)), number=2, first=10, seed=7)
    assert [(op.index, op.client, op.nonce) for op in history.ops] == [
        (10, 2, "7.2.0"),
        (11, 2, "7.2.1"),
        (12, 2, "7.2.2"),
    ]
    assert [op.args for op in history.ops] == [{"n": n, "nonce": f"7.2.{n}"} for n in range(3)]
    assert [op.value for op in history.ops] == [op.args for op in history.ops]
    assert all(op.completions == 1 and op.sent_ns is not None for op in history.ops)


def test_a_verbatim_step_sends_its_arguments_untouched(stage: Stage) -> None:
    history = stage.play(Step(command="echo", args={"value": None}, verbatim=True))
    assert stage.pool.asked == [("echo", {"value": None})]
    assert history.ops[0].nonce == "1.0.0"


@pytest.mark.parametrize("error", [CommandError("no"), ValueError("foreign"), KeyboardInterrupt(), SystemExit(1)])
def test_whatever_a_call_raises_is_recorded_and_the_client_goes_on(
    stage: Stage, fake_pool: type, error: BaseException
) -> None:
    def answer(command: str, args: dict[str, Any]) -> Any:
        if command == "fail":
            raise error
        return args

    stage.pool = fake_pool(stage.recorder.observe, answer=answer)
    history = stage.play(Step(command="fail"), Step(command="echo"))
    assert [op.outcome for op in history.ops][1] == "result"
    assert type(error).__name__ in history.ops[0].outcome


def test_limits_session_and_label_are_passed_on_and_recorded(stage: Stage) -> None:
    step = Step(command="echo", session="s", timeout_s=2.0, checkout_timeout_s=1.0, label="l")
    (op,) = stage.play(step).ops
    assert (op.session, op.timeout_s, op.checkout_timeout_s, op.label) == ("s", 2.0, 1.0, "l")


def test_a_step_waits_for_the_moment_that_it_names(stage: Stage, until: Callable[..., None]) -> None:
    stage.recorder.moment("first:done")
    waiting = stage.client(Step(command="echo", after="first:done"), number=1, first=1)
    waiting.start()
    assert stage.pool.asked == []
    first = stage.client(Step(command="echo", label="first"))
    first.start()
    for client in (first, waiting):
        client.join(LIMIT_S)
    ops = stage.history().ops
    assert len(ops) == 2
    assert ops[1].invoked_ns > (ops[0].sent_ns or 0)


def test_a_stop_ends_a_client_that_waits_for_a_moment(stage: Stage) -> None:
    client = stage.client(Step(command="echo", after="never:sent"))
    client.start()
    stage.stop.set()
    client.join(LIMIT_S)
    assert not client.is_alive()
    assert stage.history().ops == ()


@pytest.mark.parametrize("step", [Step(command="echo", pause_s=3600), Step(command="echo", at_s=3600.0)])
def test_a_stop_ends_a_client_that_waits_for_its_time(stage: Stage, step: Step) -> None:
    client = stage.client(step)
    client.start()
    stage.stop.set()
    client.join(LIMIT_S)
    assert not client.is_alive()
    assert stage.pool.asked == []


def test_a_stop_ends_a_client_before_its_next_call(stage: Stage) -> None:
    stage.pool.on_sent = stage.stop.set
    history = stage.play(*(Step(command="echo") for _ in range(5)))
    assert len(history.ops) == 1


def test_a_step_of_an_open_loop_begins_no_earlier_and_is_intended_at_its_time(stage: Stage) -> None:
    begin_ns = now_ns()
    (op,) = stage.play(Step(command="echo", at_s=0.05)).ops
    assert op.invoked_ns - begin_ns >= 50_000_000
    assert op.invoked_ns - op.intended_ns >= 0
    late = stage.client(Step(command="echo", at_s=-1.0))
    late.run()
    assert stage.pool.asked[-1][0] == "echo"


def test_a_closed_loop_intends_to_begin_when_it_begins(stage: Stage) -> None:
    (op,) = stage.play(Step(command="echo", pause_s=0.01)).ops
    assert op.intended_ns == op.invoked_ns


def test_a_step_may_be_called_from_a_thread_of_its_own(stage: Stage, fake_pool: type) -> None:
    threads: list[threading.Thread] = []

    def answer(command: str, args: dict[str, Any]) -> Any:
        threads.append(threading.current_thread())
        return args

    stage.pool = fake_pool(stage.recorder.observe, answer=answer)
    history = stage.play(*(Step(command="echo", own_thread=own) for own in (False, True, True)))
    assert [thread.name for thread in threads] == ["client-0", "client-0-1", "client-0-2"]
    assert all(op.sent_ns is not None for op in history.ops)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize(("blow", "made"), [(KeyboardInterrupt, 3), (SystemExit, 1)])
def test_a_client_in_the_main_thread_can_be_hit_in_its_call(stage: Stage, blow: type[BaseException], made: int) -> None:
    client = stage.client(Step(command="first"), Step(command="second"), Step(command="third"))
    landed: list[bool] = []
    striker = threading.Thread(target=lambda: landed.append(client.strike(blow)))
    waiting = threading.Event()

    def hit_once() -> None:
        if len(stage.pool.asked) == 1:
            striker.start()
            waiting.wait(LIMIT_S)  # the blow comes in here

    stage.pool.on_sent = hit_once
    before = signal.getsignal(signal.SIGUSR2)
    client.run_here()
    striker.join(LIMIT_S)
    assert landed == [True]
    assert signal.getsignal(signal.SIGUSR2) == before
    outcomes = [(op.command, op.outcome) for op in stage.history().ops]
    assert outcomes == [("first", "Cancelled"), ("second", "result"), ("third", "result")][:made]


def test_a_client_that_is_not_in_a_call_cannot_be_hit(stage: Stage) -> None:
    client = stage.client(Step(command="echo"))
    assert client.strike(KeyboardInterrupt) is False
    client.run_here()
    assert client.strike(SystemExit) is False
    assert [op.outcome for op in stage.history().ops] == ["result"]


@pytest.mark.parametrize(("blow", "made"), [(KeyboardInterrupt, 2), (SystemExit, 1)])
@pytest.mark.parametrize("outcome", ["result", "CommandError"])
def test_an_interrupt_that_comes_after_the_end_of_the_call_leaves_it_its_outcome(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, blow: type[BaseException], made: int, outcome: str
) -> None:
    client = stage.client(Step(command="first", args={"value": 5}), Step(command="second"))
    execute_step = client._way.execute_step

    def struck(step: Step, args: dict[str, Any]) -> Any:
        value = execute_step(step, args)
        if step.command == "second":
            return value
        ended: Future[Any] = Future()
        ended.set_result(value) if outcome == "result" else ended.set_exception(CommandError("no"))
        client._landed = True
        interrupt = blow()
        came_too_late(interrupt, ended)
        raise interrupt

    monkeypatch.setattr(client._way, "execute_step", struck)
    client.run_here()
    assert [op.outcome for op in stage.history().ops] == [outcome, "result"][:made]


def test_the_users_own_interrupt_is_recorded_and_goes_on(stage: Stage) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    stage.pool.on_sent = interrupt
    with pytest.raises(KeyboardInterrupt):
        stage.client(Step(command="echo")).run_here()
    assert [op.outcome for op in stage.history().ops] == ["foreign KeyboardInterrupt"]


def test_the_grandchildren_that_a_worker_tells_of_are_remembered(stage: Stage) -> None:
    pids: set[int] = set()
    step = Step(command="echo", args={"value": {"pid": 4321}}, fault=FaultKind.GRANDCHILD)
    client = stage.client(step, Step(command="echo", args={"value": {"pid": 1}}))
    client._pids = pids
    client.run()
    assert pids == {4321}


@pytest.mark.parametrize(("number", "lengths"), [(0, [5, 5, 2]), (1, [7, 5])])
def test_every_other_client_sends_long_batches(stage: Stage, number: int, lengths: list[int]) -> None:
    sent: list[int] = []

    class Batching(Way):
        def execute_batch(self, steps: Sequence[Step], args: Sequence[dict[str, Any]]) -> list[Any]:
            sent.append(len(steps))
            return list(args)

    client = Client(
        number,
        (Step(command="echo"),) * 12,
        pool=Batching(stage.pool),
        recorder=stage.recorder,
        first_index=0,
        begin_ns=now_ns(),
        seed=1,
        stop=stage.stop,
        together=7,
    )
    client.run()
    assert sent == lengths
    assert [op.outcome for op in stage.history().ops] == ["result"] * 12
