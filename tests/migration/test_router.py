"""The router: a total table, an exact share, and no session that straddles, whatever the order of things."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from poolproof.bridge import PoolError, Sent, SessionLost
from poolproof.migration import Guardrails, MigratingPool, Mode, Moving, Plan, Position, Side
from poolproof.migration.router import TABLE, Act, Home, Route, bucket, route_call, route_session
from poolproof.migration.spread import MOST_COMMANDS, Spread

SESSIONS = tuple(f"session-{number}" for number in range(2))
POSITIONS = ("v1", "shadow", "canary:1", "canary:25", "canary:50", "canary:99", "v2")
PHASES = (Phase.reuse, Phase.generate, Phase.shrink)
LAX = Guardrails(
    max_error_rate=1.0,
    max_failures_in_row=10**9,
    max_lost_sessions=10**9,
    max_latency_ratio=10**6,
    latency_slack_s=3600,
    max_mismatch_rate=1.0,
)
"""The machine decides itself when to roll back."""


def test_every_home_has_a_rule_in_every_mode() -> None:
    assert set(TABLE) == set(itertools.product(Mode, Home))


@pytest.mark.parametrize("percent", [1, 5, 25, 50, 99])
def test_each_hundred_calls_of_a_command_are_shared_exactly_in_an_order_of_its_own(percent: int) -> None:
    spread, position = Spread(Random(1)), Position(Mode.CANARY, percent)
    hundreds = [[route_call(position, spread.rank("echo")) for _ in range(100)] for _ in range(20)]
    assert {hundred.count(Side.V2) for hundred in hundreds} == {percent}
    assert len({tuple(hundred) for hundred in hundreds}) > 1


def test_commands_that_take_turns_both_get_their_share() -> None:
    spread, position = Spread(Random(2)), Position(Mode.CANARY, 1)
    sides: dict[str, list[Side]] = {"read": [], "write": []}
    for _ in range(1000):
        for command, found in sides.items():
            found.append(route_call(position, spread.rank(command)))
    assert {command: found.count(Side.V2) for command, found in sides.items()} == {"read": 10, "write": 10}


def test_the_first_call_of_a_process_goes_to_v2_as_often_as_any_other() -> None:
    seeds = Random(3)
    first = [Spread(Random(seeds.random())).rank("echo") for _ in range(10_000)]
    assert 60 < sum(route_call(Position(Mode.CANARY, 1), rank) is Side.V2 for rank in first) < 140


def test_a_larger_share_keeps_the_calls_of_a_smaller_one_and_commands_without_number_cost_no_memory() -> None:
    spread = Spread(Random(4))
    ranks = [spread.rank(f"command-{number}") for number in range(3 * MOST_COMMANDS)]
    assert len(spread._left) == MOST_COMMANDS + 1
    small, large = ({n for n, rank in enumerate(ranks) if rank < percent} for percent in (5, 50))
    assert small < large


def test_sessions_are_shared_by_hash_and_a_larger_share_keeps_those_of_a_smaller_one() -> None:
    names = [f"user-{number}" for number in range(4000)]

    def chosen(percent: int) -> set[str]:
        position = Position.canary(percent)
        return {name for name in names if route_session(position, Plan(), name, Home.NEW).side is Side.V2}

    steps = [chosen(percent) for percent in (1, 5, 25, 50, 100)]
    assert all(one < other for one, other in itertools.pairwise(steps))
    assert 0.22 < len(steps[2]) / len(names) < 0.28
    assert bucket("user-1") == bucket("user-1")


def test_a_session_stays_where_it_lives_until_that_pool_serves_nobody() -> None:
    plan = Plan()
    for percent in (1, 50, 99):
        position = Position.canary(percent)
        for name in SESSIONS:
            assert route_session(position, plan, name, Home.V1) == Route(Side.V1)
            assert route_session(position, plan, name, Home.V2) == Route(Side.V2)
    assert route_session(Position(), plan, "s", Home.V2) == Route(Side.V1, Act.REBUILD)
    assert route_session(Position(), Plan(back=Moving.LOST), "s", Home.V2).act is Act.LOSE
    assert route_session(Position(Mode.V2), Plan(forward=Moving.STAY), "s", Home.V1) == Route(Side.V1)
    assert route_session(Position(Mode.V2), plan, "s", Home.V1) == Route(Side.V2, Act.REBUILD)


class Migration(RuleBasedStateMachine):
    """Any order of changes, deaths and calls, some of which are held back while the rest goes on.

    The model knows what each session was answered. No call may be lost (its outcome and its effect agree), carried out
    twice, or see another session's state or an emptiness that nobody told of.
    """

    def __init__(self, scripted: Callable[..., Any], gate: Callable[[], Any], plan: Plan) -> None:
        super().__init__()
        self.make, self.make_gate = scripted, gate
        self.gates: dict[str, Any] = {}
        self.pools = [scripted("v1"), scripted("v2")]
        self.pools[0].undoes = False
        for pool in self.pools:
            pool.gates = self.gates
        self.pool = MigratingPool(self.pools[0], self.pools[1], plan)
        self.plan = plan
        self.numbers = itertools.count(1)
        self.model: dict[str, list[str]] = {}
        self.lost: set[str] = set()
        self.shaky: set[str] = set()  # may end as lost: the plan says so, or a handover or a call failed before
        self.calls = 0
        self.held: dict[str, tuple[str | None, threading.Thread, list[Any]]] = {}

    @property
    def held_sessions(self) -> set[str | None]:
        return {session for session, _, _ in self.held.values()}

    # What happens.

    @rule(position=st.sampled_from(POSITIONS))
    def change(self, position: str) -> None:
        self.pool.change(position, why="the machine says so")

    @rule()
    def roll_back(self) -> None:
        self.pool.roll_back(why="the machine says so")

    @rule(side=st.integers(0, 1), dead=st.booleans())
    def die_or_rise(self, side: int, dead: bool) -> None:
        self.current(side).dead = dead

    @rule(side=st.integers(0, 1), sent=st.sampled_from((Sent.NO, Sent.YES)))
    def crash_next(self, side: int, sent: Sent) -> None:
        if not self.held:  # else nobody could say which call it hits
            self.current(side).crash_next = sent

    @precondition(lambda self: not self.held and self.pool.position.mode is Mode.V1)
    @rule()
    def replace(self) -> None:
        self.pools.append(self.make("v2"))
        self.pools[-1].gates = self.gates
        self.pool.replace_candidate(self.pools[-1])

    # Calls.

    @rule(command=st.sampled_from(("note", "echo")))
    def call(self, command: str) -> None:
        nonce = self.new_nonce()
        args = {"nonce": nonce} if command == "note" else {"value": nonce}
        self.calls += 1
        try:
            value = self.pool.execute(command, args)
        except PoolError as error:
            self.check_failed(nonce, error)
        else:
            assert value == nonce
            assert command == "echo" or self.executions(nonce) == 1

    @rule(session=st.sampled_from(SESSIONS), command=st.sampled_from(("append", "append", "get")))
    def call_in_session(self, session: str, command: str) -> None:
        if session not in self.held_sessions:
            self.make_call(session, command)

    @rule(session=st.sampled_from(SESSIONS), position=st.sampled_from(POSITIONS))
    def change_between_calls(self, session: str, position: str) -> None:
        if session not in self.held_sessions:
            self.make_call(session, "append")
            self.change(position)
            self.make_call(session, "get")

    def make_call(self, session: str, command: str) -> None:
        nonce = self.new_nonce()
        self.calls += 1
        self.check_session(session, command, nonce, self.outcome(session, command, nonce))

    @rule(session=st.sampled_from(SESSIONS))
    def end(self, session: str) -> None:
        if session in self.held_sessions:
            return
        self.pool.end_session(session)
        self.model.pop(session, None)
        self.lost.discard(session)
        self.shaky.discard(session)

    @precondition(lambda self: len(self.held) < 3)
    @rule(session=st.sampled_from((None, *SESSIONS)))
    def hold(self, session: str | None) -> None:
        if session in self.held_sessions or any(pool.crash_next for pool in self.pools):
            return
        nonce = self.new_nonce()
        gate = self.gates[nonce] = self.make_gate()
        found: list[Any] = []
        command = "note" if session is None else "append"
        thread = threading.Thread(target=lambda: found.append(self.outcome(session, command, nonce)), daemon=True)
        self.calls += 1
        thread.start()
        while thread.is_alive() and not gate.arrived.wait(0.01):
            pass
        self.held[nonce] = (session, thread, found)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: Any) -> None:
        nonce = data.draw(st.sampled_from(sorted(self.held)))
        session, thread, found = self.held.pop(nonce)
        self.gates.pop(nonce).opened.set()
        thread.join(30)
        assert not thread.is_alive(), "a call never ended"
        if session is not None:
            self.check_session(session, "append", nonce, found[0])
        elif isinstance(found[0], PoolError):
            self.check_failed(nonce, found[0])
        else:
            assert found[0] == nonce
            assert self.executions(nonce) == 1

    # What is to hold.

    def outcome(self, session: str | None, command: str, nonce: str) -> Any:
        args = {"nonce": nonce, "value": f"{session}/{nonce}"}
        try:
            return self.pool.execute(command, args, session=session)
        except PoolError as error:
            return error

    def check_session(self, session: str, command: str, nonce: str, found: Any) -> None:
        held = self.model.setdefault(session, [])
        if isinstance(found, SessionLost):
            assert session in self.shaky or Moving.LOST in (self.plan.back, self.plan.forward), found
            assert str(found).strip(), "it says why"
            assert self.executions(nonce) == 0
            self.lost.add(session)
        elif isinstance(found, PoolError):
            self.check_failed(nonce, found)
            self.shaky.add(session)
            if command == "append" and self.pools[0].executed[nonce]:
                held.append(f"{session}/{nonce}")  # v1 has it, and whoever moves the session must not drop it
        else:
            assert session not in self.lost, "what was lost is back in silence"
            assert self.executions(nonce) == 1
            if command == "append":
                held.append(f"{session}/{nonce}")
            assert found == ({"values": held} if command == "append" else {"value": held})

    def check_failed(self, nonce: str, error: PoolError) -> None:
        assert self.executions(nonce) <= (0 if error.sent is Sent.NO else 1)

    def executions(self, nonce: str) -> int:
        return sum(pool.executed[nonce] for pool in self.pools)

    def new_nonce(self) -> str:
        return f"n{next(self.numbers)}"

    def current(self, side: int) -> Any:
        return self.pools[0] if side == 0 else self.pools[-1]

    @invariant()
    def every_call_is_counted_once(self) -> None:
        statistics = self.pool._accounts.sum_up()
        assert statistics.submitted == self.calls
        assert statistics.in_flight == sum(thread.is_alive() for _, thread, _ in self.held.values())

    def teardown(self) -> None:
        while self.held:
            nonce = next(iter(self.held))
            _, thread, _ = self.held.pop(nonce)
            self.gates.pop(nonce).opened.set()
            thread.join(30)
        self.pool.close(0.0)


@pytest.mark.parametrize(
    ("back", "forward"),
    [(Moving.HANDOVER, Moving.HANDOVER), (Moving.LOST, Moving.STAY), (Moving.HANDOVER, Moving.LOST)],
)
def test_no_call_is_lost_doubled_or_answered_by_another_session(
    back: Moving, forward: Moving, scripted: Callable[..., Any], gate: Callable[[], Any]
) -> None:
    plan = Plan(back=back, forward=forward, idempotent=frozenset({"echo"}), guardrails=LAX)
    run_state_machine_as_test(
        cast(Any, lambda: Migration(scripted, gate, plan)),
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
