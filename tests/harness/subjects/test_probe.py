"""The probe finds what a foreign worker can do, whatever words it refuses the rest with."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.probe import known_commands

FOREIGN = """
import json, struct, sys, time

def read(size):
    data = b""
    while len(data) < size:
        part = sys.stdin.buffer.read(size - len(data))
        if not part:
            sys.exit(0)
        data += part
    return data

while True:
    request = json.loads(read(struct.unpack(">I", read(4))[0]))
    answer = {"id": request["id"], "success": True, "result": None, "timestamp": "2026-01-01T00:00:00"}
    if request["command"] == "die":
        sys.exit(3)
    if request["command"] == "picky":
        answer = {"id": request["id"], "success": False, "error": "picky: needs an argument"}
    if request["command"] not in ("ping", "echo", "picky"):
        answer = {"id": request["id"], "success": False, "error": REFUSAL.format(request["command"])}
    data = json.dumps(answer).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)
    sys.stdout.buffer.flush()
"""


def test_the_shipped_worker_knows_its_commands_even_those_that_end_it() -> None:
    command = f"{shlex.quote(sys.executable)} -m poolproof.bridge.worker.program --worker-id {{worker_id}}"
    asked = ["ping", "exit", "bad_frame", "put", "slep", "no_such_thing"]
    assert known_commands(command, asked) == {"ping", "exit", "bad_frame", "put"}


@pytest.mark.parametrize("refusal", ["unknown command: {}", "{} is not a thing here", "cannot do that"])
def test_a_foreign_worker_is_understood_whatever_it_says(refusal: str, tmp_path: Path) -> None:
    program = tmp_path / "other worker.py"
    program.write_text(FOREIGN.replace("REFUSAL", repr(refusal)))
    command = shlex.join([sys.executable, str(program), "--worker-id", "{worker_id}"])
    assert known_commands(command, ["ping", "echo", "picky", "die", "sleep"]) == {"ping", "echo", "picky", "die"}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("false", "the worker command 'false' starts no worker: worker 1 "),
        ("/no/such/program x", "cannot execute '/no/such/program'"),
        ("sh -c 'echo broken >&2; exit 1'", "broken"),
        ("", "at least one word"),
        ("python3 'open", 'worker_command "python3 \'open": '),
    ],
)
def test_a_command_that_starts_no_worker_is_one_clear_line(command: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        known_commands(command, ["ping"])
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mute_program_is_given_up_at_the_limit() -> None:
    with pytest.raises(UsageError, match="did not answer its init ping in time"):
        known_commands("sleep 60", ["ping"], start_timeout_s=0.2)
