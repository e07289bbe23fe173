"""Recordings: what is in the file, what is not, and that no call waits for it or fails because of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge import CommandError, ConfigError, Pool, PoolConfig
from poolproof.bridge.recording import (
    AsyncRecordingPool,
    Call,
    Recorder,
    RecordingError,
    RecordingExecutor,
    RecordingPool,
    read_recording,
)
from poolproof.pool_v2 import AsyncPool, PoolV2

Eventually = Callable[..., Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recording that is not there yet."""
    return tmp_path / "calls.rec"


def _note(recorder: Recorder, *, session: str | None = None, command: str = "echo", **args: Any) -> None:
    recorder.note(0, session, command, args, {"value": 1})


def test_a_pool_records_calls_with_answers_sessions_errors_and_clients(file: Path) -> None:
    with RecordingPool(PoolV2(PoolConfig(workers=1)), file) as pool:
        assert isinstance(pool, Pool)
        assert pool.execute("echo", {"value": [1, "ä"]}) == [1, "ä"]
        pool.execute_in_session("s", "append", {"key": "k", "value": 1})
        with pytest.raises(CommandError):
            pool.execute_anonymous("fail", {})
        assert pool.status().name == pool.name
        assert pool.execute_many("echo", [{"value": 1}]) == [1], "the pool's own, not recorded"
    found = read_recording(file)
    assert (found.damage, found.header.sample, len(found.calls)) == ("", 1.0, 3)
    assert found.trailer is not None
    assert (found.trailer.calls, found.trailer.dropped, found.trailer.unrecordable) == (3, 0, 0)
    one, two, three = found.calls
    assert (one.command, one.args, one.outcome, one.value) == ("echo", {"value": [1, "ä"]}, "result", [1, "ä"])
    assert (two.session, two.client, two.at_ns > one.at_ns, two.took_ns > 0) == ("s", one.client, True, True)
    assert (three.outcome, three.value, three.sent) == ("CommandError", None, "yes")
    assert three.error
    assert file.stat().st_mode & 0o077 == 0, "nobody else reads real traffic"


def test_credentials_never_reach_the_file_and_scrub_sees_every_call(file: Path) -> None:
    def scrub(call: Call) -> Call | None:
        assert "hunter2" not in str(call)
        if call.command == "private":
            return None
        return msgspec.structs.replace(call, args={**call.args, "mail": "x"})

    recorder = Recorder(file, pool="p", scrub=scrub)
    _note(recorder, command="private")
    recorder.note(0, None, "login", {"password": "hunter2!", "mail": "a@b"}, "welcome hunter2!")
    recorder.note(0, None, "login", {"url": "https://u:hunter2@h/"}, error=CommandError("api_key=hunter2"))
    recorder.close()
    data = file.read_bytes()
    assert b"hunter2" not in data
    assert b"a@b" not in data
    found = read_recording(file)
    assert [call.command for call in found.calls] == ["login", "login"]
    assert found.calls[0].args["mail"] == "x"


def test_without_a_scrub_hook_credentials_are_redacted_too(file: Path) -> None:
    recorder = Recorder(file, pool="p")
    recorder.note(0, None, "login", {"token": "hunter2!"}, "welcome hunter2!")
    recorder.close()
    assert b"hunter2" not in file.read_bytes()


def test_what_cannot_be_kept_is_counted_and_hurts_no_call(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("poolproof.bridge.recording.writer.WRITE_S", 60.0)
    monkeypatch.setattr("poolproof.bridge.recording.writer.MOST_QUEUED", 2)
    recorder = Recorder(file, pool="p")
    recorder.note(0, None, "odd", {"x": object()}, None)
    for _ in range(5):
        _note(recorder)
    recorder.close()
    recorder.close()
    _note(recorder)
    found = read_recording(file).trailer
    assert found is not None
    assert (found.calls, found.dropped, found.unrecordable) == (2, 3, 1)
    full = Recorder(file.with_name("full.rec"), pool="p", max_bytes=1024)
    for _ in range(2):
        _note(full, text="x" * 600)
        full.write()
    assert not full.recording
    assert "has reached its size" in caplog.text
    full.close()
    assert [len(read_recording(file.with_name("full.rec")).calls)] == [1]


def test_a_full_disk_ends_the_recording_and_no_call(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(file, pool="p")

    def fill(fd: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("poolproof.bridge.recording.writer.write_all", fill)
    _note(recorder)
    recorder.write()
    _note(recorder)
    assert recorder.trouble.endswith("cannot be written: No space left on device; nothing more is recorded")
    assert caplog.text.count("No space left") == 1
    recorder.close()


def test_a_sample_has_whole_sessions_and_only_the_commands_asked_for(file: Path) -> None:
    recorder = Recorder(file, pool="p", sample=0.5, commands=["echo"])
    for number in range(200):
        for _ in range(2):
            _note(recorder, session=f"s{number % 100}")
        _note(recorder, command="other")
    recorder.close()
    sessions = [call.session for call in read_recording(file).calls]
    assert {sessions.count(name) for name in sessions} == {4}
    assert 25 < len(set(sessions)) < 75


def test_a_process_that_is_killed_leaves_a_readable_file(file: Path, until: Eventually) -> None:
    code = (
        "import sys\n"
        "from poolproof.bridge.recording import Recorder\n"
        "recorder = Recorder(sys.argv[1], pool='p')\n"
        "while True: recorder.note(0, None, 'echo', {'value': 1}, 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(file)]) as child:
        until(lambda: file.exists() and file.stat().st_size > 200_000, "it writes")
        child.send_signal(signal.SIGKILL)
    found = read_recording(file)
    assert len(found.calls) > 100
    assert found.trailer is None
    data = file.read_bytes()[:60_000]
    for size in range(len(data) - 1, len(data) - 200, -7):
        file.write_bytes(data[:size])
        cut = read_recording(file)
        assert cut.damage.startswith("cut off after")
        assert cut.calls == found.calls[: len(cut.calls)]


def test_a_forked_child_records_nothing(file: Path) -> None:
    recorder = Recorder(file, pool="p")
    recorder.let_go()  # as a fork does in the child
    _note(recorder)
    assert not recorder._queue
    os.close(recorder._fd)


def test_tasks_and_executors_are_recorded(file: Path) -> None:
    async def use() -> None:
        async with AsyncRecordingPool(AsyncPool(PoolConfig(workers=1)), file) as pool:
            assert await pool.execute_anonymous("echo", {"value": 1}) == 1
            await pool.execute_in_session("s", "append", {"key": "k", "value": 1})
            with pytest.raises(CommandError):
                await pool.execute("fail")

    asyncio.run(use())
    assert [call.outcome for call in read_recording(file).calls] == ["result", "result", "CommandError"]
    other = file.with_name("executor.rec")
    with RecordingExecutor(ThreadPoolExecutor(1), other) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()
    one, two = read_recording(other).calls
    assert (one.command, one.args, one.value) == ("builtins:divmod", {"args": [7, 2], "kwargs": {}}, [3, 1])
    assert two.outcome == "ZeroDivisionError"


def test_what_cannot_be_is_refused(file: Path, tmp_path: Path) -> None:
    file.write_text("precious")
    with pytest.raises(RecordingError, match="cannot be made: File exists"):
        Recorder(file, pool="p")
    with pytest.raises(RecordingError, match="is not a recording of poolproof"):
        read_recording(file)
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        read_recording(tmp_path / "none")
    for options, told in (({"sample": 1.5}, "sample 1.5"), ({"max_bytes": 7}, "max_bytes 7")):
        with pytest.raises(ConfigError, match=told):
            Recorder(tmp_path / "x", pool="p", **options)
