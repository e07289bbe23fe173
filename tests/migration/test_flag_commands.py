"""The commands of a migration whose position a flag sets, and processes that follow flagd's file."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openfeature", reason="openfeature-sdk is not installed: pip install 'poolproof[openfeature]'")

from openfeature import api
from openfeature.event import ProviderEventDetails
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from poolproof.harness.cli.app import main
from poolproof.harness.readiness.preparation import examine_plan
from poolproof.migration import MigratingPool, Plan, Position, StateFile, flag
from poolproof.migration.followers.record import Follower, Life
from poolproof.migration.followers.registry import find_followers
from tests.migration.conftest import services

Capture = pytest.CaptureFixture[str]
Eventually = Callable[..., Any]
Migrate = Callable[..., tuple[int, str, str]]
REFUSED = "poolproof: the position is set by the flag 'checkout-pool' of In-Memory Provider; change it there\n"
CHANGES = [
    *(("start",), ("shadow",), ("canary", "25"), ("promote",), ("rollback",), ("pause",), ("resume",), ("finish",)),
    ("canary", "25", "--unfollowed"),
]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFile:
    """The state file of a new folder, in which the test is."""
    monkeypatch.chdir(tmp_path)
    return StateFile(tmp_path / "state.json")


@pytest.fixture
def migrate(state: StateFile, capsys: Capture) -> Migrate:
    """Run `poolproof migrate …` on this state: the exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["migrate", *words, "--state", str(state.path)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Set the value of the flag, by a new provider. At the end there is none."""
    monkeypatch.setattr(flag, "ANSWER_S", 60.0)  # a busy machine is no trouble of a provider

    def say(value: str) -> None:
        provider = InMemoryProvider({"checkout-pool": InMemoryFlag("it", {"it": value})})
        api.set_provider_and_wait(provider, flag.DOMAIN)
        provider.emit_provider_configuration_changed(ProviderEventDetails())

    yield say
    api.shutdown()


@pytest.fixture
def follow(scripted: Any, state: StateFile) -> Iterator[Callable[..., MigratingPool]]:
    """Make a pool that registers beside the state file."""
    made: list[MigratingPool] = []

    def make(name: str = "web", **options: Any) -> MigratingPool:
        plan = Plan(**{"state_file": str(state.path), "poll_s": 0.01, "flag": "checkout-pool", **options})
        made.append(MigratingPool(scripted(name), scripted("v2"), plan))
        return made[-1]

    yield make
    for pool in made:
        pool.close(0.0)


def test_a_change_is_refused_in_one_line_and_status_shows_what_each_process_applies(
    migrate: Migrate, follow: Any, say: Callable[[str], None], state: StateFile, until: Eventually
) -> None:
    say("canary:25")
    pool = follow()
    here = f"process {os.getpid()} on {socket.gethostname()} (pool 'web')"
    for words in CHANGES:
        assert migrate(*words) == (2, "", REFUSED), words
    assert [path.name for path in state.path.parent.iterdir()] == ["state.json.followers"], "nothing was written"
    code, out, _ = migrate("status")
    assert code == 0
    assert out.splitlines() == [
        "the position is set by the flag 'checkout-pool' of In-Memory Provider",
        f"{here} applies canary:25, as the flag 'checkout-pool' of In-Memory Provider says canary:25; "
        "since then v1 0 calls (0 failed), v2 0 calls (0 failed)",
        "1 of 1 processes follow",
    ]
    found = json.loads(migrate("status", "--json")[1])
    assert (found["flag"], found["position"], found["sequence"], found["followed"]) == (
        "the flag 'checkout-pool' of In-Memory Provider",
        "",
        0,
        True,
    )
    pool.roll_back(why="it was slow")
    until(lambda: find_followers(state.followers_path)[0].record.trouble, "it is told")
    code, out, told = migrate("status")
    assert code == 3
    assert f"NOT FOLLOWING: {here} applies v1, although the flag" in out
    assert "0 of 1 processes follow" in out
    assert "applies v1 nevertheless, until the state changes: it was slow" in told
    say("v2")
    until(lambda: migrate("status")[0] == 0, "it follows again")
    say("green")
    until(lambda: "while the flag 'checkout-pool' of In-Memory Provider is not known" in migrate("status")[1], "lost")
    code, out, told = migrate("status")
    assert (code, "NOT FOLLOWING" in out, "this process keeps v2" in told) == (3, True, True)


def test_while_some_processes_follow_the_file_they_can_go_back_and_nothing_else(
    migrate: Migrate, follow: Any, say: Callable[[str], None], state: StateFile
) -> None:
    follow("old", flag="").change("canary:75", why="by the file")
    say("v1")
    follow("new")
    code, out, _ = migrate("status")
    assert (code, out.splitlines()[1][:19]) == (3, "canary:75, number 1")
    assert "NOT FOLLOWING: process" in out
    assert migrate("canary", "80") == (2, "", REFUSED)
    code, out, _ = migrate("rollback", "--wait", "0")
    assert (code, out.splitlines()[0]) == (3, f"v1, number 2, in {state.path}")


def test_a_state_file_that_no_process_follows_is_not_taken_for_the_position(
    migrate: Migrate, follow: Any, say: Callable[[str], None], state: StateFile
) -> None:
    say("v1")
    follow()
    told = "poolproof: the position is set by the flag 'checkout-pool' of In-Memory Provider; change it there, so its"
    code, _, errors = migrate("log")
    assert (code, errors.splitlines()[0][: len(told)]) == (2, told)
    StateFile(state.path).write(Position.canary(75), who="anna", why="before the flag")
    assert "before the flag" in migrate("log")[1]
    for spoil in (lambda: None, lambda: state.path.write_text("{")):
        spoil()
        code, out, _ = migrate("status")
        assert (code, out.splitlines()[1]) == (0, f"{state.path} is there, but no process follows it")
        assert "canary:75" not in out
        assert json.loads(migrate("status", "--json")[1])["position"] == ""


def test_without_a_process_the_flag_of_the_plan_is_told(migrate: Migrate, state: StateFile, capsys: Capture) -> None:
    Path("poolproof.toml").write_text('[migration]\nflag = "checkout-pool"\n')
    told = "poolproof: the position is set by the flag 'checkout-pool'; change it there"
    assert migrate("start", "--unfollowed") == (2, "", f"{told}\n")
    code, _, errors = migrate("status")
    assert (code, errors.startswith(f"{told}; no process follows {state.path}")) == (2, True)
    assert main(["doctor"]) in (0, 1)
    assert "set by the flag 'checkout-pool'; processes register beside" in capsys.readouterr().out
    found = examine_plan(Plan(flag="checkout-pool", state_file=str(state.path), idempotent=frozenset({"echo"})))
    assert (found.problems, found.doubts, found.facts[0]) == ((), (), "flag: 'checkout-pool'")
    assert list(Path.cwd().iterdir()) == [Path.cwd() / "poolproof.toml"]


SERVICE = """
import sys, threading
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from poolproof.migration import Guardrails, MigratingPool, Plan
class Stub:
    version, capabilities = "stub", frozenset()
    def __init__(self, name): self.name = name
    def execute(self, command, args=None, **options): return args["value"]
    def sessions(self): return ()
    def close(self, grace_s=None): pass
flags, state = sys.argv[1:]
provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=flags, deadline_ms=20)
api.set_provider_and_wait(provider)
plan = Plan(flag="checkout-pool", state_file=state, guardrails=Guardrails(latency_slack_s=60))
wrong, over = [], threading.Event()
def call():
    number = 0
    while not over.wait(0.001):
        number += 1
        try:
            if (found := pool.execute("echo", {"value": number})) != number:
                wrong.append(found)
        except Exception as error:
            wrong.append(repr(error))
with MigratingPool(Stub("child"), Stub("v2"), plan) as pool:
    client = threading.Thread(target=call)
    client.start()
    print("ready", flush=True)
    sys.stdin.readline()
    over.set()
    client.join()
    print(wrong, flush=True)
api.shutdown()
"""


@pytest.fixture
def flags(state: StateFile) -> Path:
    """The file of flags, which says v1."""
    path = state.path.with_name("flags.json")
    _write(path, "v1")
    return path


def _write(path: Path, value: str) -> None:
    variants = {value: value for value in ("v1", "shadow", "canary:50", "v2")}
    flag = {"state": "ENABLED", "variants": variants, "defaultVariant": value}
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"flags": {"checkout-pool": flag}}))
    draft.replace(path)


@pytest.fixture
def serve(state: StateFile, flags: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a process that follows the file of flags, under load; killed at the end."""
    pytest.importorskip(
        "openfeature.contrib.provider.flagd",
        reason="openfeature-provider-flagd is not installed (the extra dev has it)",
    )
    with services(SERVICE, str(flags), str(state.path)) as start:
        yield start


def _applied(state: StateFile, position: str, pids: set[int]) -> list[Follower]:
    # The followers, if exactly these processes live, apply the position and have served calls by it since.
    sides = {"v2": {"v2"}, "canary:50": {"v1", "v2"}}.get(position, {"v1"})
    found = [one for one in find_followers(state.followers_path) if one.life is Life.FOLLOWING]
    served = all({side for side, count in one.record.calls.items() if count} == sides for one in found)
    applied = all(one.obeys and one.record.position == one.record.wanted == position for one in found)
    return found if {one.record.pid for one in found} == pids and applied and served else []


def test_two_processes_follow_the_file_of_flagd_though_one_is_killed(
    state: StateFile, flags: Path, serve: Callable[[], subprocess.Popen[str]], migrate: Migrate, until: Eventually
) -> None:
    one, other = serve(), serve()

    def reached(position: str, *processes: subprocess.Popen[str]) -> None:
        _write(flags, position)
        pids = {process.pid for process in processes}
        until(lambda: _applied(state, position, pids), f"{position} is applied")
        out = until(lambda: (found := migrate("status"))[0] == 0 and found[1], "status says so")
        told = rf"process (\d+) .* applies {position}, as the flag 'checkout-pool' of FlagdProvider says {position};"
        assert {int(pid) for pid in re.findall(told, out)} == pids
        assert f"{len(pids)} of {len(pids)} processes follow" in out

    reached("v1", one, other)
    reached("shadow", one, other)
    reached("canary:50", one, other)
    os.kill(other.pid, signal.SIGKILL)
    reached("v2", one)
    assert f"process {other.pid} on {socket.gethostname()} (pool 'child') ended without leaving" in migrate("status")[1]
    assert migrate("rollback")[0] == 2
    third = serve()
    reached("v2", one, third)
    flags.rename(flags.with_name("elsewhere"))
    until(lambda: "the provider is ERROR; this process keeps v2" in migrate("status")[2], "the flag is lost")
    reached("v1", one, third)
    for child in (one, third):
        assert child.communicate("\n", timeout=60)[0] == "[]\n", "no call was lost or wrong"
        assert child.returncode == 0
    assert not state.path.exists()
