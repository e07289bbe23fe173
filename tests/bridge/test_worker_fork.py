"""Handlers and callables that fork: the child has no part in the wire, however it ends."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge.worker.intervals import read_journals
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from tests.waiting import HANG_GUARD_S

Program = Callable[..., Any]
CALLS = 10
CHILD_ENDS = {
    "it returns": "None",
    "it exits": "__import__('sys').exit(3)",
    "it raises": "1 // 0",
    "it ends at once": "__import__('os')._exit(0)",
    "it closes what it has": "__import__('os').closerange(0, 99)",
}
HANDLERS = """
import os
from poolproof.bridge.worker.handlers import COMMANDS

def forks(context, args):
    pid = os.fork()
    if pid == 0:
        return eval(args["child"])
    os.waitpid(pid, 0)
    return args["value"]

def forks_in_a_stream(context, args):
    yield "first"
    pid = os.fork()
    if pid == 0:
        eval(args["child"])
        yield "the child's"
        return
    os.waitpid(pid, 0)
    yield args["value"]

COMMANDS.update(forks=forks, forks_in_a_stream=forks_in_a_stream)
"""


def call_that_forks(child: str, value: int) -> bytes:
    """A pickled call that gives the value in the parent, once its child has ended."""
    source = f"[(pid := __import__('os').fork()) or [{child}], pid and __import__('os').waitpid(pid, 0), {value}][2]"
    return pickle.dumps((eval, (source,), {}))


@pytest.mark.parametrize("child", CHILD_ENDS)
def test_a_callable_that_forks_is_answered_once_however_its_child_ends(program: Program, child: str) -> None:
    worker = program()
    for number in range(CALLS):
        answer = worker.result("call", call=call_that_forks(CHILD_ENDS[child], number))
        assert pickle.loads(answer["value"]) == number
        assert worker.result("echo", value=-number) == -number, "an innocent call between"
    worker.result("shutdown")
    assert worker.process.wait(HANG_GUARD_S) == 0
    assert worker.process.stdout.read() == b"", "nobody has written more"


@pytest.mark.parametrize("child", CHILD_ENDS)
def test_a_handler_that_forks_is_answered_once_however_its_child_ends(
    program: Program, child: str, tmp_path: Path
) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    worker = program(before=HANDLERS, env={JOURNAL_VARIABLE: str(journals)})
    for number in range(CALLS):
        assert worker.result("forks", child=CHILD_ENDS[child], value=number, nonce=number) == number
        assert worker.result("forks_in_a_stream", child=CHILD_ENDS[child], value=number) == ["first", number]
        assert worker.result("echo", value=-number) == -number, "an innocent call between"
    worker.result("shutdown")
    assert worker.process.wait(HANG_GUARD_S) == 0
    assert worker.process.stdout.read() == b"", "nobody has written more"
    found = [interval for interval in read_journals(journals) if interval.command == "forks"]
    assert [(interval.nonce, interval.ok) for interval in found] == [(number, True) for number in range(CALLS)]
    assert {interval.pid for interval in found} == {worker.process.pid}


def test_a_child_that_outlives_its_call_does_not_stretch_what_is_told_of_it(program: Program, tmp_path: Path) -> None:
    worker = program(
        before=HANDLERS.replace("    os.waitpid(pid, 0)\n    return", "    return"),
        env={JOURNAL_VARIABLE: str(tmp_path)},
    )
    go_on = tmp_path / "fifo"
    os.mkfifo(go_on)
    assert worker.result("forks", child=f"open({str(go_on)!r}).read()", value=1) == 1
    assert worker.result("echo", value=2) == 2
    go_on.write_text("go on")
    worker.result("shutdown")
    assert worker.process.wait(HANG_GUARD_S) == 0
    worker.process.stdout.read()  # its end is that of the child, too
    forked, echoed, _ = read_journals(tmp_path)
    assert (forked.command, echoed.command) == ("forks", "echo")
    assert forked.end_ns is not None
    assert forked.end_ns <= echoed.start_ns


def test_a_child_that_streams_by_itself_sends_nothing(program: Program) -> None:
    worker = program(before=HANDLERS)
    worker.send(
        b'{"id": 1, "command": "forks_in_a_stream", "args": {"child": "None", "value": "mine"}, "stream": true}'
    )
    parts = [worker.receive() for _ in range(3)]
    assert [(part["id"], part["result"], part["more"]) for part in parts] == [
        (1, "first", True),
        (1, "mine", True),
        (1, None, False),
    ]
    worker._next_id = 1
    assert worker.result("echo", value="next") == "next"
