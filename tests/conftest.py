"""What every test relies on: to be told which processes are this one's, and its tests', doing."""

from __future__ import annotations

import contextlib
import dis
import functools
import gc
import inspect
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import psutil
import pytest

from poolproof.bridge.worker.handlers import Context
from poolproof.harness.faults.commands import fault_environment
from tests.waiting import HANG_GUARD_S, wait_until, wait_until_gone

IN_CHILDREN = (
    "bridge/",
    "harness/run/test_job",
    "harness/faults/test_faulty_worker",
    "harness/cli/test_cli_ends",
    "harness/mutation/",
)


@pytest.fixture
def untraced() -> Iterator[None]:
    """Without a trace function: for millions of steps of code whose coverage other tests measure."""
    traced = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(traced)


@pytest.fixture(scope="session", autouse=True)
def gate_of_this_process(tmp_path_factory: pytest.TempPathFactory) -> None:
    """These tests time nothing, so they wait for no bench of this machine, and no other process waits for theirs."""
    os.environ["POOLPROOF_GATE_DIR"] = str(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="session", autouse=True)
def migrations_of_these_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """These tests neither see nor change the migrations of the user."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session", autouse=True)
def calls_wait_for_starts() -> Iterator[None]:
    """Calls that set no limit wait for a worker as long as any test waits.

    By default they wait for 5 s, and on a busy machine the start of a worker may take longer.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poolproof.pool_v2.running.runtime.CHECKOUT_TIMEOUT_S", HANG_GUARD_S)
        yield


SITE = f"""
import sys
if "-P" not in sys.orig_argv:  # not in workers
    import poolproof.pool_v2.running.runtime as runtime
    runtime.CHECKOUT_TIMEOUT_S = {HANG_GUARD_S}
"""


@pytest.fixture(scope="session")
def patient_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a program whose calls wait for a worker as those of this process do."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITE)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


@pytest.fixture(scope="session", autouse=True)
def fault_commands_in_workers() -> None:
    """Many tests need a worker that misbehaves on request, so every worker of theirs has the fault commands."""
    os.environ.update(fault_environment())


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait until a function returns something true."""
    return wait_until


@pytest.fixture
def vanish() -> Callable[..., None]:
    """Wait until a process is gone."""
    return wait_until_gone


@pytest.fixture
def context() -> Context:
    """A worker's memory, whose raw bytes are kept in `context.raw`."""
    raw: list[bytes] = []
    context = Context(3, "pool-worker", raw.append)
    context.raw = raw  # type: ignore[attr-defined]
    return context


@pytest.fixture(scope="module", autouse=True)
def measured_children(request: pytest.FixtureRequest) -> Iterator[None]:
    """Under coverage the processes that a test starts are measured too, where their own code is what is tested.

    Elsewhere they are not: to measure thousands of workers costs more than the tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        path = request.path.relative_to(Path(__file__).parent).as_posix()
        if not path.startswith(IN_CHILDREN):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(scope="session")
def family() -> Callable[[], set[psutil.Process]]:
    """The processes that this one has started, and theirs.

    Trackers are left out: multiprocessing and loky keep a process each that notes semaphores until the interpreter
    ends, whichever test made the first. (To stop one earlier removes semaphores that somebody still holds.)
    """
    return lambda: {child for child in psutil.Process().children(recursive=True) if not _tracks(child)}


def _tracks(process: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in word for word in process.cmdline())
    except psutil.Error:  # it has ended, or is about to
        return False


CHECKPOINTS = {dis.opmap[name] for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME") if name in dis.opmap}
"""After these the interpreter looks for interrupts."""


def _interrupted_after(
    step: int, work: Callable[[], object], files: Collection[str], *, generators: bool, everywhere: bool
) -> bool:
    left, after_call = step, everywhere

    def before(code: CodeType, offset: int) -> None:
        nonlocal left, after_call
        if after_call:
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
        after_call = everywhere or _opcodes(code)[offset] in CHECKPOINTS

    each_opcode = _monitored if sys.version_info >= (3, 12) else _traced
    with each_opcode(frozenset(files), before, generators):
        try:
            work()
        except KeyboardInterrupt:
            return True
    return False


def _interruptible(code: CodeType, generators: bool) -> bool:
    return code.co_name != "<genexpr>" and (generators or not code.co_flags & inspect.CO_GENERATOR)


@functools.cache
def _opcodes(code: CodeType) -> bytes:
    return code.co_code


@contextlib.contextmanager
def _traced(files: frozenset[str], before: Callable[[CodeType, int], None], generators: bool) -> Iterator[None]:
    """Call `before` ahead of each opcode that this thread executes in the files; in generators only if asked for.

    In a generator that is finalized the interpreter drops what is raised.
    """

    def within(frame: FrameType, event: str, _: object) -> Any:
        if event == "opcode":
            before(frame.f_code, frame.f_lasti)
        return within

    def begun(frame: FrameType, _: str, __: object) -> Any:
        code = frame.f_code
        if code.co_filename not in files or code.co_name == "<genexpr>":
            return None
        if code.co_flags & inspect.CO_GENERATOR and not generators:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return within

    former = sys.gettrace()
    sys.settrace(begun)
    try:
        yield
    finally:
        sys.settrace(former)


@contextlib.contextmanager
def _monitored(files: frozenset[str], before: Callable[[CodeType, int], None], generators: bool) -> Iterator[None]:
    """The same as `_traced` from Python 3.12 on, where tracing opcodes comes too late, or crashes under coverage."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]  # from Python 3.12 on
    tool, event = monitoring.OPTIMIZER_ID - 1, monitoring.events.INSTRUCTION
    thread = threading.get_ident()
    codes = [code for code in _codes_of(files) if _interruptible(code, generators)]
    monitoring.use_tool_id(tool, "interrupts")
    monitoring.register_callback(
        tool, event, lambda code, offset: before(code, offset) if threading.get_ident() == thread else None
    )
    try:
        for code in codes:
            monitoring.set_local_events(tool, code, event)
        yield
    finally:
        for code in codes:
            monitoring.set_local_events(tool, code, 0)
        monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)


@functools.cache
def _codes_of(files: frozenset[str]) -> list[CodeType]:
    left = [each.__code__ for each in gc.get_objects() if isinstance(each, FunctionType)]
    left = [code for code in left if code.co_filename in files]
    found: set[int] = set()
    codes = []
    while left:
        code = left.pop()
        if id(code) not in found:
            found.add(id(code))
            codes.append(code)
            left += [each for each in code.co_consts if isinstance(each, CodeType)]
    return codes


@pytest.fixture
def interrupted_after() -> Iterator[Callable[..., bool]]:
    """Do some work; a KeyboardInterrupt comes after the n-th call that the files' code makes, if there are so many.

    In the files' generators only if told so, and never in an expression: in one that is finalized the interpreter drops
    what is raised. `everywhere`: before the n-th instruction; the interpreter looks for interrupts after some only.
    Gives whether it came, so that a test can try every place where Ctrl-C may. A test to which none came has
    failed.
    """
    came = 0

    def interrupted(
        step: int,
        work: Callable[[], object],
        files: Collection[str],
        *,
        generators: bool = False,
        everywhere: bool = False,
    ) -> bool:
        nonlocal came
        reached = _interrupted_after(step, work, files, generators=generators, everywhere=everywhere)
        came += reached
        return reached

    yield interrupted
    assert came, "no interrupt came, so nothing was shown"
