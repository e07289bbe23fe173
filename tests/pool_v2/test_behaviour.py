"""The behaviour's own rules, and the table of the contract: each number of the checkout's semantics has its test."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof import pool_v2
from poolproof.bridge import ConfigError, HookError, LeaseError
from poolproof.pool_v2 import Ok, PoolV2, Remove, Skip, Stop, WorkerBehaviour
from poolproof.pool_v2.core.behaviour import HOOKS, checked, require_behaviour, told
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import Worker
from poolproof.pool_v2.running.hooks import Hooks, Removed, Spoilt, describe

MakePool = Callable[..., PoolV2]
HERE = Path(__file__).parent
TABLE = {
    "test_behaviour_start.py": (*range(1, 9), 15, 16, 17),
    "test_behaviour_queue.py": (*range(9, 15), 29, 30, 31, 40, 41, 42, 46),
    "test_behaviour_messages.py": (*range(18, 22), *range(32, 39)),
    "test_behaviour_removal.py": (*range(22, 29), 39, 45, 47),
}
"""Which file has the tests of which numbers; N43 and N44 are the coordinator's."""


class Mute:
    """It cannot tell itself."""

    def __repr__(self) -> str:
        raise ValueError


def test_every_number_of_the_contract_has_a_test_that_cites_it() -> None:
    assert sorted(number for numbers in TABLE.values() for number in numbers) == sorted({*range(1, 43), 45, 46, 47})
    for name, numbers in TABLE.items():
        text = (HERE / name).read_text()
        lines = text.splitlines()
        cited: list[int] = []
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                body = lines[node.lineno : node.body[0].lineno]
                cited += [int(number) for line in body for number in re.findall(r"# N(\d+)", line)]
        assert sorted(set(cited)) == sorted(numbers), name


def test_an_answer_that_is_allowed_passes() -> None:
    for answer in (Ok(1), Remove("worn")):
        assert checked("checkin", answer, Ok, Remove) is answer
    skip = Skip(KeyError("x"))
    assert checked("enqueue", skip, Ok, Skip) is skip


@pytest.mark.parametrize("junk", [None, 1, "ok", Ok, ("ok", 1), Stop("x"), Skip(KeyError())])
def test_an_answer_that_is_not_allowed_is_told_with_what_was_expected(junk: Any) -> None:
    with pytest.raises(HookError) as caught:
        checked("checkin", junk, Ok, Remove)
    assert str(caught.value) == f"the hook 'checkin' must return Ok or Remove; it returned {junk!r}"


def test_a_skip_needs_an_exception() -> None:
    with pytest.raises(HookError, match=r"must skip with an exception; it returned Skip\(error='no'\)"):
        checked("enqueue", Skip("no"), Ok, Skip)  # type: ignore[arg-type]


def test_what_came_is_told_in_few_words_and_never_fails() -> None:
    assert told("x" * 1000) == "'" + "x" * 199
    assert told(Mute()) == "a Mute"
    assert describe(KeyError("k")) == "KeyError: 'k'"
    assert describe(HookError("in words")) == "HookError: in words"
    assert describe(Mute()) == "a Mute"


def test_an_object_without_every_hook_is_no_behaviour() -> None:
    require_behaviour(WorkerBehaviour())
    assert {"init_pool", "enqueue", "checkout", "ping", "terminate_worker", "cancelled"} <= set(HOOKS)

    class Other:
        """A behaviour by its shape alone."""

    for hook in HOOKS:
        setattr(Other, hook, lambda self, *args: Ok())
    require_behaviour(Other())
    delattr(Other, "ping")
    with pytest.raises(ConfigError, match="the object lacks ping"):
        require_behaviour(Other())


def test_hooks_that_do_nothing_say_ok() -> None:
    hooks = Hooks(WorkerBehaviour())
    hooks.init_pool()
    worker = Worker(1)
    worker.state = "state"
    ticket = Ticket(1)
    ticket.worker = worker
    assert hooks.enqueue("command") == "command"
    assert hooks.checkout("command", ticket) is None
    hooks.checkin(None, ticket)
    hooks.update(ticket, "message")
    hooks.message("message", ticket)
    hooks.terminate_worker("reason", worker.state)
    hooks.terminate_pool()
    hooks.cancelled("queued")
    assert worker.state == "state"
    assert not any(hooks.overrides(hook) for hook in HOOKS)


def test_hooks_without_a_worker_ask_nobody() -> None:
    hooks = Hooks(WorkerBehaviour())
    for ask in (lambda t: hooks.checkout("c", t), lambda t: hooks.message("m", t), lambda t: hooks.checkin(None, t)):
        with pytest.raises(Removed, match="down"):
            ask(Ticket(1))
    with pytest.raises(LeaseError):
        hooks.update(Ticket(1), "m")


def test_junk_is_told_apart_from_what_a_hook_raises() -> None:
    class Junk(WorkerBehaviour):
        def message(self, message: Any, state: Any) -> Any:
            if message == "raise":
                raise KeyError
            return message

    ticket = Ticket(1)
    ticket.worker = Worker(1)
    with pytest.raises(Spoilt):
        Hooks(Junk()).message("junk", ticket)
    with pytest.raises(Removed) as caught:
        Hooks(Junk()).message("raise", ticket)
    assert type(caught.value) is Removed
    assert isinstance(caught.value.args[0], KeyError)
    assert Hooks(Junk()).overrides("message")


def test_a_behaviour_by_its_shape_alone_works(make_pool: MakePool) -> None:
    heard: list[str] = []

    class Other:
        """No subclass of WorkerBehaviour."""

        def __len__(self) -> int:
            return 0  # false, and yet there

        def __getattr__(self, name: str) -> Any:
            if name not in HOOKS:
                raise AttributeError(name)
            heard.append(name)
            return lambda *args: Ok(args[0] if name == "enqueue" else None)

    pool = make_pool(behaviour=Other())
    assert pool.execute("echo", {"value": 1}) == 1
    assert {"init_pool", "init_worker", "enqueue", "checkout", "checkin"} <= set(heard)


def test_the_contract_s_words_are_the_room_s() -> None:
    assert {"Lease", "Ok", "Remove", "Skip", "Stop", "WorkerBehaviour", "PoolV2"} <= set(pool_v2.__all__)


def test_the_example_of_the_contract_s_page_works(capsys: pytest.CaptureFixture[str]) -> None:
    page = (HERE.parent.parent / "docs" / "reference" / "checkout.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        exec(program, {})
    assert capsys.readouterr().out == ""


def test_the_page_names_every_hook_and_answer() -> None:
    page = (HERE.parent.parent / "docs" / "reference" / "checkout.md").read_text()
    for word in (*HOOKS, "Ok", "Remove", "Skip", "Stop"):
        assert f"`{word}" in page, word
