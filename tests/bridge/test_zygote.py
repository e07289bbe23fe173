"""The zygote: one warm process that forks the workers, and everything that may go wrong with it or with them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge.clock import deadline_ns
from poolproof.bridge.config import PoolConfig
from poolproof.bridge.errors import ConfigError, StartFailed, WorkerCrashed
from poolproof.bridge.events import ServiceInterval
from poolproof.bridge.machine.procfs import start_ticks
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.launch import LIFELINE_FD
from poolproof.bridge.processes.process_manager import ProcessManager
from poolproof.bridge.processes.rundir.base import pools_dir
from poolproof.bridge.processes.rundir.orphans import list_pools
from poolproof.bridge.processes.zygote.descriptors import MOST_BYTES, encode
from poolproof.bridge.processes.zygote.zygote import Zygote
from poolproof.bridge.wire.messages import encode_request
from poolproof.bridge.worker.intervals import read_journals
from tests.waiting import Holdings, stop

pytestmark = pytest.mark.usefixtures("runtime_dir")
HANG_GUARD_S = 10.0


class Team:
    """A process manager with a zygote, and the channels to its workers; all are ended by `end`."""

    def __init__(self, **options: Any) -> None:
        self.process_manager = ProcessManager(PoolConfig.from_options({"zygote": True} | options), version="v9")
        self.channels: list[Channel] = []

    @property
    def zygote(self) -> Zygote:
        assert self.process_manager.zygote is not None
        return self.process_manager.zygote

    def order(self) -> Channel:
        """A worker that may not be forked yet."""
        self.channels.append(self.process_manager.spawn(self.process_manager.next_id()))
        return self.channels[-1]

    def start(self) -> Channel:
        """A worker that has answered its init ping."""
        channel = self.order()
        channel.handshake(deadline_ns=deadline_ns(HANG_GUARD_S))
        return channel

    def ask(self, channel: Channel, command: str, **args: Any) -> Any:
        """The result of one request."""
        frame = encode_request(7, command, args, limit_bytes=2**20)
        response = channel.exchange(7, frame, deadline_ns=deadline_ns(HANG_GUARD_S))
        assert response.success, response.error
        return response.result

    def release(self, channel: Channel) -> None:
        """Whatever state it is in."""
        self.channels.remove(channel)
        channel.process.kill()
        assert channel.process.exited(HANG_GUARD_S)
        assert channel.process.reap()
        self.process_manager.release(channel)

    def end(self) -> None:
        """Bury everybody, and shut_down."""
        for channel in list(self.channels):
            self.release(channel)
        self.process_manager.shut_down()


@pytest.fixture
def team() -> Iterator[Callable[..., Team]]:
    """Make teams, which end with the test."""
    made: list[Team] = []

    def make(**options: Any) -> Team:
        made.append(Team(**options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def module(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Write a module to preload; the options of a process manager that preloads it."""

    def write(name: str, body: str) -> dict[str, Any]:
        (tmp_path / f"{name}.py").write_text(body)
        path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
        return {"preload": (name,), "env": {"PYTHONPATH": path}}

    return write


@pytest.fixture
def helper(module: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Preload a module that teaches the workers to look at themselves."""
    return module(
        "helper",
        """
import os, signal, sys
from poolproof.bridge.worker.handlers import COMMANDS
LOADED_BY = os.getpid()
OPEN = os.open("/dev/null", os.O_RDONLY)
def target(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
def look(context, args):
    return {
        "loaded_by": LOADED_BY, "parent": os.getppid(), "group": os.getpgid(0), "own": OPEN,
        "fds": {fd: target(fd) for fd in os.listdir("/proc/self/fd")},
        "flavour": os.environb[b"FLAVOUR"].hex() if "FLAVOUR" in os.environ else "", "path": "PATH" in os.environ,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "interrupt": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    }
COMMANDS["look"] = look
""",
    )


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # the descriptor with which the list was read


def _kill_zygote(team: Team) -> int:
    pid = team.zygote.pid
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_worker_is_forked_by_the_zygote_with_the_modules_loaded(
    team: Callable[..., Team], helper: dict[str, Any]
) -> None:
    one = team(**helper)
    seen = one.ask(one.start(), "look")
    assert seen["loaded_by"] == seen["parent"] == one.zygote.pid != 0
    assert seen["group"] == one.channels[0].process.pid
    assert seen["interrupt"]
    assert seen["blocked"] == []


def test_a_worker_has_its_own_descriptors_what_a_module_had_opened_and_no_other(
    team: Callable[..., Team], helper: dict[str, Any], open_fds: Callable[[], dict[int, str]]
) -> None:
    inherited = {fd for fd in open_fds() if _is_inheritable(fd)} - {0, 1, 2, LIFELINE_FD}
    one = team(**helper)
    first = one.ask(one.start(), "look")
    second = one.ask(one.start(), "look")
    for seen in (first, second):
        fds = {int(fd): target for fd, target in seen["fds"].items() if target}
        assert fds[0] == fds[seen["own"]] == "/dev/null"
        assert fds[1] == fds[2] != ""
        wire = set(fds) - {0, 1, 2, LIFELINE_FD, seen["own"]} - inherited
        assert len(wire) == 2, fds
        assert all(target.startswith("pipe:") for fd, target in fds.items() if fd in {1, 2, LIFELINE_FD, *wire})
    first_pipes, second_pipes = ({t for fd, t in s["fds"].items() if int(fd) not in inherited} for s in (first, second))
    assert first_pipes & second_pipes <= {"/dev/null", ""}, "no pipe of one worker is held by another"


def test_a_worker_has_the_pools_variables_and_those_of_its_order(
    team: Callable[..., Team], helper: dict[str, Any]
) -> None:
    helper["env"]["FLAVOUR"] = "sweet"
    one = team(**helper)
    seen = one.ask(one.start(), "look")
    assert (bytes.fromhex(seen["flavour"]), seen["path"]) == (b"sweet", True)
    env = os.environ | helper["env"] | {"FLAVOUR": "so\udce9r"}
    del env["PATH"]
    process = one.zygote.spawn(77, env)
    one.channels.append(
        Channel(process, one.process_manager._printed.watch(process.stderr_fd, "77"), limit_bytes=2**20)
    )
    one.channels[-1].handshake(deadline_ns=deadline_ns(HANG_GUARD_S))
    seen = one.ask(one.channels[-1], "look")
    assert (bytes.fromhex(seen["flavour"]), seen["path"]) == (b"so\xe9r", False), "any bytes are kept"


def _family_of(team: Team) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{team.zygote.pid}/task/{team.zygote.pid}/children").read_text().split()}


def _spare_of(team: Team) -> int | None:
    # The pid of the process that the zygote has forked in advance, if it has: it alone waits at a socket.
    workers = {channel.process.pid for channel in team.channels}
    return next((pid for pid in _family_of(team) - workers if _has_socket(pid)), None)


def _has_socket(pid: int) -> bool:
    try:
        return any(os.readlink(fd).startswith("socket:") for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # it has ended, or is about to


@pytest.fixture
def with_spare(
    team: Callable[..., Team], helper: dict[str, Any], until: Callable[..., None]
) -> Callable[[], tuple[Team, int]]:
    """Make a team that has one worker and a spare; its pid."""

    def make() -> tuple[Team, int]:
        one = team(**helper)
        one.start()
        until(lambda: _spare_of(one) is not None, "a spare is forked when nothing else is asked")
        pid = _spare_of(one)
        assert pid is not None
        return one, pid

    return make


def test_the_next_worker_is_the_spare_and_nobody_could_tell(
    with_spare: Callable[[], tuple[Team, int]], until: Callable[..., None]
) -> None:
    one, spare = with_spare()
    first = one.ask(one.channels[0], "look")
    env = os.environ | {"FLAVOUR": "bitter", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    process = one.zygote.spawn(77, env)
    one.channels.append(
        Channel(process, one.process_manager._printed.watch(process.stderr_fd, "77"), limit_bytes=2**20)
    )
    one.channels[-1].handshake(deadline_ns=deadline_ns(HANG_GUARD_S))
    assert one.channels[-1].process.pid == spare
    second = one.ask(one.channels[-1], "look")
    assert second["group"] == spare
    assert second["flavour"] == b"bitter".hex()
    same = ("loaded_by", "parent", "own", "path", "blocked", "interrupt")
    assert {key: second[key] for key in same} == {key: first[key] for key in same}
    assert len(second["fds"]) == len(first["fds"])
    assert (second["fds"]["0"], second["fds"]["1"]) == ("/dev/null", second["fds"]["2"])
    assert second["fds"]["2"] != first["fds"]["2"]
    until(lambda: _spare_of(one) not in (None, spare), "the next spare is forked")
    children = [one.ask(channel, "spawn_child", seconds=60)["pid"] for channel in one.channels]
    one.release(one.channels[-1])
    until(lambda: start_ticks(children[1]) is None, "its group is tied to the lifeline")
    assert start_ticks(children[0]) is not None


def test_a_spare_that_was_killed_costs_no_start(
    with_spare: Callable[[], tuple[Team, int]], until: Callable[..., None]
) -> None:
    one, spare = with_spare()
    os.kill(spare, signal.SIGKILL)
    until(lambda: Path(f"/proc/{spare}/stat").read_text().split()[2] == "Z", "the spare is dead")
    channel = one.start()
    assert one.ask(channel, "pid")["pid"] == channel.process.pid != spare
    until(lambda: start_ticks(spare) is None, "it is reaped")


def test_a_spare_leaves_when_its_zygote_is_killed(
    with_spare: Callable[[], tuple[Team, int]], vanish: Callable[..., None]
) -> None:
    one, spare = with_spare()
    _kill_zygote(one)
    vanish(spare)
    assert one.ask(one.channels[0], "pid")["pid"] == one.channels[0].process.pid


def test_a_spare_leaves_with_its_pool(with_spare: Callable[[], tuple[Team, int]], vanish: Callable[..., None]) -> None:
    one, spare = with_spare()
    one.end()
    assert start_ticks(spare) is None, "the zygote has waited for it"


def test_an_order_that_is_too_large_is_a_failed_start(team: Callable[..., Team], until: Callable[..., None]) -> None:
    one = team()
    until(lambda: one.zygote.ready, "the zygote is ready")
    before = Holdings()
    with pytest.raises(StartFailed, match=f"worker 5: .* the limit is {MOST_BYTES}"):
        one.zygote.spawn(5, os.environ | {"LARGE": "x" * MOST_BYTES})
    before.require_none_gained()
    with pytest.raises(ValueError, match="the limit is"):
        encode("x" * MOST_BYTES)


def test_a_session_lives_in_a_forked_worker(team: Callable[..., Team]) -> None:
    one = team()
    channel = one.start()
    one.ask(channel, "put", session_id="s", key="k", value=[1])
    one.ask(channel, "append", session_id="s", key="k", value=2)
    assert one.ask(channel, "get", session_id="s", key="k")["value"] == [1, 2]


def test_a_forked_worker_keeps_a_journal(team: Callable[..., Team], tmp_path: Path) -> None:
    one = team(env={"POOLPROOF_JOURNAL_DIR": str(tmp_path)})
    channel = one.start()
    one.ask(channel, "pid", nonce="n")
    found: list[ServiceInterval] = read_journals(tmp_path)
    assert [(interval.pid, interval.nonce) for interval in found] == [(channel.process.pid, "n")]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda team, channel: channel.process.end_input(), "exited with status 0"),
        (lambda team, channel: os.kill(channel.process.pid, signal.SIGTERM), "was ended by SIGTERM"),
    ],
    ids=["retired", "signalled"],
)
def test_how_a_forked_worker_ended_is_known(
    team: Callable[..., Team], end: Callable[[Team, Channel], None], said: str, until: Callable[..., None]
) -> None:
    one = team()
    channel = one.start()
    pid = channel.process.pid
    until(lambda: [record.worker_pids for record in list_pools()] == [(pid,)], "its pid is written down")
    end(one, channel)
    assert channel.process.exited(HANG_GUARD_S)
    assert Path(f"/proc/{pid}").exists(), "nobody else gets the pid before the worker is reaped"
    assert channel.process.reap()
    assert channel.process.reap()
    assert channel.process.describe_exit() == said
    assert not Path(f"/proc/{pid}").exists()
    one.release(channel)
    assert list_pools()[0].worker_pids == ()


def test_a_crash_tells_the_last_lines_and_the_status(team: Callable[..., Team]) -> None:
    one = team()
    channel = one.start()
    with pytest.raises(WorkerCrashed, match="leaving in the middle of a call"):
        one.ask(channel, "exit", code=3)
    assert channel.process.exited(HANG_GUARD_S)
    assert channel.process.reap()
    assert channel.process.describe_exit() in ("exited with status 3", "was ended by SIGKILL")


def test_a_kill_and_a_burial_reach_the_children_of_a_worker(
    team: Callable[..., Team], vanish: Callable[..., None]
) -> None:
    one = team()
    killed, left = one.start(), one.start()
    children = [one.ask(channel, "spawn_child", seconds=60)["pid"] for channel in (killed, left)]
    killed.process.kill()
    left.process.end_input()
    assert left.process.exited(HANG_GUARD_S)
    left.process.reap()
    for child in children:
        vanish(child)


def test_a_module_that_cannot_be_imported_fails_the_start_by_name_and_is_tried_again(
    team: Callable[..., Team], module: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    one = team(**module("brittle", "import no_such_module_at_all\n"))
    for _ in range(2):
        with pytest.raises(StartFailed) as caught:
            one.start()
        assert "preload of 'brittle' failed" in str(caught.value)
        assert "ModuleNotFoundError: " in str(caught.value)
        assert "no_such_module_at_all" in str(caught.value)
        assert one.channels[-1].process.exited(HANG_GUARD_S)
        assert one.channels[-1].process.reap()
        assert one.channels[-1].process.describe_exit() == "is gone"
    module("brittle", "")
    one.start()


def test_a_module_that_ends_the_program_fails_the_start_with_its_last_words(
    team: Callable[..., Team], module: Callable[..., dict[str, Any]]
) -> None:
    one = team(**module("deadly", "import os, sys\nsys.stderr.write('farewell\\n')\nsys.stderr.flush()\nos._exit(9)\n"))
    with pytest.raises(StartFailed, match=r"exited with status 9 before it was ready\nfarewell"):
        one.start()


def test_a_zygote_that_still_imports_delays_nobody_and_is_ended_at_once(
    team: Callable[..., Team],
    module: Callable[..., dict[str, Any]],
    until: Callable[..., None],
    tmp_path: Path,
) -> None:
    begun = tmp_path / "begun"
    one = team(**module("endless", f"open({str(begun)!r}, 'w').close()\nimport signal\nsignal.pause()\n"))
    channel = one.order()
    assert channel.process.pid == 0
    with pytest.raises(StartFailed, match="did not answer its init ping in time") as caught:
        channel.handshake(deadline_ns=deadline_ns(0.05))
    assert "before its zygote had forked it" in str(caught.value)
    assert channel.process.exited()
    one.release(channel)
    until(begun.exists, "the module is being imported")
    pid = one.zygote.pid
    one.end()
    assert start_ticks(pid) is None


def test_threads_of_a_module_are_told_of(
    team: Callable[..., Team], module: Callable[..., dict[str, Any]], until: Callable[..., None]
) -> None:
    body = "import threading\nthreading.Thread(target=threading.Event().wait, name='ghost', daemon=True).start()\n"
    one = team(**module("threaded", body))
    one.start()
    log = pools_dir() / one.process_manager.name / "zygote.stderr.log"
    until(lambda: log.exists() and "has started ghost;" in log.read_text(), "the log names the thread")


def test_workers_outlive_their_zygote_and_the_next_has_a_new_one(
    team: Callable[..., Team], vanish: Callable[..., None], until: Callable[..., None]
) -> None:
    one = team()
    first = one.start()
    child = one.ask(first, "spawn_child", seconds=60)["pid"]
    pid = _kill_zygote(one)
    vanish(pid)
    assert one.ask(first, "pid")["pid"] == first.process.pid
    until(lambda: one.zygote.ready and one.zygote.pid != pid, "another zygote is begun without an order")
    assert one.ask(one.start(), "pid")["pid"] != first.process.pid
    first.process.kill()
    assert first.process.exited(HANG_GUARD_S)
    assert first.process.reap()
    assert first.process.describe_exit() == "is gone"
    vanish(child)


def test_a_worker_that_dies_after_its_zygote_leaves_no_child(
    team: Callable[..., Team], vanish: Callable[..., None]
) -> None:
    one = team()
    channel = one.start()
    child = one.ask(channel, "spawn_child", seconds=60)["pid"]
    vanish(_kill_zygote(one))
    os.kill(channel.process.pid, signal.SIGKILL)
    assert channel.process.exited(HANG_GUARD_S)
    assert start_ticks(child) is not None
    assert channel.process.reap()
    vanish(child)


def test_a_stopped_zygote_delays_nothing_but_its_forks(
    team: Callable[..., Team], vanish: Callable[..., None], until: Callable[..., None]
) -> None:
    one = team()
    first = one.start()
    assert first.process.pid, "the zygote has told of it"
    stop(one.zygote.pid)
    ordered = one.order()
    assert one.ask(first, "pid")["pid"] == first.process.pid
    first.process.kill()
    assert first.process.exited(HANG_GUARD_S)
    assert first.process.reap()
    assert first.process.describe_exit() == "is gone"
    with pytest.raises(StartFailed):
        ordered.handshake(deadline_ns=deadline_ns(0.05))
    assert ordered.process.reap()
    os.kill(one.zygote.pid, signal.SIGCONT)
    second = one.start()
    assert one.ask(second, "echo", value=1) == 1
    until(
        lambda: _family_of(one) == {second.process.pid, _spare_of(one)},
        "who is not wanted any more is gone and reaped, and a spare is there",
    )


def test_orders_that_a_dead_zygote_was_sent_fail_and_the_pool_goes_on(team: Callable[..., Team]) -> None:
    one = team()
    one.start()
    stop(one.zygote.pid)
    ordered = one.order()
    pid = _kill_zygote(one)
    # Its pipes may end before the end of the zygote is noticed.
    why = rf"the zygote \(pid {pid}\) was ended by SIGKILL|was ended before its zygote had forked it"
    with pytest.raises(StartFailed, match=why):
        ordered.handshake(deadline_ns=deadline_ns(HANG_GUARD_S))
    one.start()


REFUSALS = {
    "no fork": (
        "import errno, os\ndef fork():\n    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\nos.fork = fork\n",
        os.strerror(errno.EAGAIN),
    ),
    "no pidfd": (
        "import os, time\nfork = os.fork\n"
        "def slow_fork():\n    pid = fork()\n    time.sleep(0 if pid else 60)\n    return pid\nos.fork = slow_fork\n"
        "def refuse(_):\n    raise OSError(24, 'Too many open files')\nos.pidfd_open = refuse\n",
        "Too many open files",
    ),
    "no descriptor": (
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (5, 256))\n",
        "no file descriptor is left in the zygote",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_zygote_that_cannot_fork_says_why_and_keeps_no_process(
    team: Callable[..., Team], module: Callable[..., dict[str, Any]], until: Callable[..., None], refusal: str
) -> None:
    body, told = REFUSALS[refusal]
    one = team(**module("refusing", body))
    for _ in range(2):
        with pytest.raises(StartFailed) as caught:
            one.start()
        assert f"the zygote cannot fork: {told}" in str(caught.value)
    family = Path(f"/proc/{one.zygote.pid}/task/{one.zygote.pid}/children")
    until(lambda: family.read_text() == "", "what was forked is gone and reaped")


def test_a_zygote_that_cannot_be_executed_fails_every_start_until_it_can(
    team: Callable[..., Team], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("poolproof.bridge.processes.zygote.zygote.COMMAND", ("no-such-program",))
        one = team()
        for _ in range(2):
            with pytest.raises(StartFailed, match="cannot execute 'no-such-program'"):
                one.start()
    one.start()


def test_many_orders_at_once_are_all_carried_out(team: Callable[..., Team]) -> None:
    one = team()
    channels = [one.order() for _ in range(12)]
    for channel in channels:
        channel.handshake(deadline_ns=deadline_ns(HANG_GUARD_S))
    pids = {one.ask(channel, "pid")["pid"] for channel in channels}
    assert len(pids) == 12
    assert pids == {channel.process.pid for channel in channels}


def test_an_order_after_the_end_fails(team: Callable[..., Team]) -> None:
    one = team()
    one.zygote.close()
    one.zygote.close()
    assert one.zygote.pid == 0
    with pytest.raises(StartFailed, match="the pool is closed"):
        one.start()


def test_many_lives_leave_no_descriptor_no_thread_and_no_process(until: Callable[..., None]) -> None:
    pools_dir()
    before = Holdings()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    pids = []
    for life in range(20):
        one = Team()
        if life % 2:
            pids += [one.start().process.pid for _ in range(2)]
        else:
            one.order()
        one.end()
    before.require_none_gained()
    assert Path(f"/proc/self/task/{os.getpid()}/children").read_text() == children
    assert [pid for pid in pids if start_ticks(pid) is not None] == []
    assert list(pools_dir().iterdir()) == []


OPEN = """
def fds():  # a thread may just read what the kernel says about processes and groups
    kept = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            kept[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            pass
    return {fd for fd, target in kept.items() if not target.startswith(("/proc/", "/sys/"))}
"""
SCRIPT = """
import os, sys, threading
from poolproof.bridge.clock import deadline_ns
from poolproof.bridge.config import PoolConfig
from poolproof.bridge.processes.process_manager import ProcessManager
from poolproof.bridge.wire.messages import encode_request
process_manager = ProcessManager(PoolConfig(zygote=True), version="v9")
channel = process_manager.spawn(1)
channel.handshake(deadline_ns=deadline_ns(10))
def ask(command, **args):
    return channel.exchange(1, encode_request(1, command, args, limit_bytes=10000), deadline_ns=deadline_ns(10)).result
child = ask("spawn_child", seconds=60)["pid"]
def end():
    channel.process.kill()
    assert channel.process.exited(10) and channel.process.reap()
    process_manager.release(channel)
    process_manager.shut_down()
"""


@pytest.mark.parametrize("zygote_first", [False, True], ids=["with its zygote", "after its zygote"])
def test_a_busy_worker_its_child_and_the_zygote_end_when_the_parent_is_killed(
    run_script: Callable[..., subprocess.Popen[str]], vanish: Callable[..., None], *, zygote_first: bool
) -> None:
    script = run_script(
        SCRIPT
        + """
os.write(channel.process.stdin_fd, encode_request(2, "cpu", {"seconds": 60}, limit_bytes=10000))
print(process_manager.zygote.pid, channel.process.pid, child, flush=True)
sys.stdin.readline()
"""
    )
    assert script.stdout is not None
    zygote, worker, child = (int(word) for word in script.stdout.readline().split())
    assert None not in (start_ticks(zygote), start_ticks(worker), start_ticks(child))
    if zygote_first:
        os.kill(zygote, signal.SIGKILL)
        vanish(zygote)
    script.send_signal(signal.SIGKILL)
    assert script.wait(HANG_GUARD_S) == -signal.SIGKILL
    for pid in (worker, child, zygote):
        vanish(pid)


def test_an_interpreter_that_ends_with_the_pool_open_leaves_nobody(
    run_script: Callable[..., subprocess.Popen[str]], vanish: Callable[..., None], runtime_dir: Path
) -> None:
    script = run_script(SCRIPT + "print(process_manager.zygote.pid, channel.process.pid, child)")
    output, errors = script.communicate(timeout=30)
    assert errors == ""
    for pid in output.split():
        vanish(int(pid))
    assert list((runtime_dir / "pools").iterdir()) == []


def test_a_forked_child_of_the_parent_holds_nothing_and_the_parent_goes_on(
    run_script: Callable[..., subprocess.Popen[str]],
) -> None:
    script = run_script(
        """
import os
"""
        + OPEN
        + """
before = fds()
"""
        + SCRIPT
        + """
waiting = process_manager.spawn(2)
forked = os.fork()
if forked == 0:
    assert fds() == before, (fds(), before)
    channel.process.kill()
    assert channel.process.reap()
    os._exit(0)
print(os.waitpid(forked, 0)[1], ask("echo", value="still"))
waiting.handshake(deadline_ns=deadline_ns(10))
waiting.process.kill()
assert waiting.process.exited(10) and waiting.process.reap()
process_manager.release(waiting)
end()
print(fds() == before)
"""
    )
    assert script.communicate(timeout=30) == ("0 still\nTrue\n", "")


def test_running_out_of_descriptors_is_a_failed_start_and_leaks_nothing(
    run_script: Callable[..., subprocess.Popen[str]],
) -> None:
    # At each limit another step runs out of descriptors, the last one when the worker's pidfd arrives.
    script = run_script(
        SCRIPT
        + """
import resource
from poolproof.bridge.errors import StartFailed
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
"""
        + OPEN
        + """
def drained():
    until = deadline_ns(10)
    while fds() != before:
        assert deadline_ns(0.001) < until, (fds(), before)
before = fds()
top = max(int(fd) for fd in before) + 2
failed = started = 0
for limit in range(top - 4, top + 14):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        other = process_manager.spawn(limit)
    except StartFailed as error:
        failed += 1
        other = None
    if other is not None:
        try:
            other.handshake(deadline_ns=deadline_ns(10))
            started += 1
        except StartFailed:
            failed += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    if other is not None:
        other.process.kill()
        assert other.process.exited(10) and other.process.reap()
        process_manager.release(other)
    drained()
end()
print(failed > 0, started > 0)
"""
    )
    assert script.communicate(timeout=60) == ("True True\n", "")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"zygote": 1}, "zygote 1"),
        ({"preload": "dspy"}, "preload 'dspy'"),
        ({"preload": ("a b",)}, "preload .*a b"),
        ({"preload": ("",)}, "preload"),
        ({"preload": (3,)}, "preload"),
        ({"zygote": True, "worker_command": ("cat",)}, "zygote True with worker_command .*cat"),
        ({"preload": ("json",), "worker_command": "cat -u"}, "preload .*json.* with worker_command 'cat -u'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PoolConfig.from_options(options)


def test_modules_to_preload_imply_a_zygote() -> None:
    assert PoolConfig(preload=("os.path", "json")).uses_zygote
    assert PoolConfig(zygote=True, worker_command=(sys.executable, *PoolConfig().command_words()[1:])).uses_zygote
    assert not PoolConfig().uses_zygote
