"""A child finds this package whatever the current folder holds, and an application's modules where its parent does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poolproof import AsyncPool, PoolExecutor
from poolproof.bridge import ConfigError, PoolConfig, WorkerCrashed
from poolproof.bridge.config import module_command
from poolproof.bridge.processes.interpreter import PATH_VARIABLE, adopt, environment
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2

NAMES = ("poolproof", "bridge", "harness", "msgspec", "json", "typing", "queue")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: each of its modules breaks whoever imports it."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the folder\\'s own {name} was imported')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", [PoolV1, PoolV2])
@pytest.mark.parametrize("zygote", [False, True])
def test_workers_start_in_a_folder_that_has_modules_of_the_product_s_names(
    hostile: Path, kind: type[PoolV1] | type[PoolV2], zygote: bool
) -> None:
    if zygote and kind is PoolV1:
        pytest.skip("v1 has none")
    with kind(PoolConfig(workers=1, zygote=zygote)) as pool:
        pool.warm_up()
        assert pool.execute("echo", {"value": 1}) == 1


@pytest.mark.parametrize("kind", [PoolV1, PoolV2])
def test_a_worker_has_imported_what_it_needs_before_it_adopts_a_path(
    kind: type[PoolV1 | PoolV2], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder that came on its parent's path late, as pytest does it, has modules that the parent has already."""
    for name in ("shutil", "lzma", "bz2", "gettext", "selectors"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the folder\\'s own {name} was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with kind(PoolConfig(workers=1)) as pool:
        assert pool.execute("echo", {"value": 1}) == 1


def test_a_child_has_its_parent_s_path_in_the_same_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    monkeypatch.setattr(sys, "path", [*sys.path[:1], "", *sys.path[1:], str(tmp_path / "last")])
    expected = [os.path.abspath(entry) for entry in sys.path]
    told = environment({})
    assert told[PATH_VARIABLE].split(os.pathsep) == expected
    code = "import sys; from poolproof.bridge.processes.interpreter import adopt; adopt(); print(*sys.path, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=os.environ | told,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == expected


def test_a_package_that_is_installed_nowhere_is_found_by_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(Path(__file__).parents[2])
    monkeypatch.setattr(sys, "path", [home, *(entry for entry in sys.path if entry != home)])
    assert environment({})["PYTHONPATH"] == home
    assert environment({"PYTHONPATH": "/elsewhere"})["PYTHONPATH"] == f"{home}{os.pathsep}/elsewhere"
    assert "PYTHONPATH" not in environment({"PYTHONPATH": home})


def test_a_process_that_was_told_nothing_keeps_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    before = list(sys.path)
    adopt()
    assert sys.path == before


def test_the_command_keeps_the_current_folder_off_the_path() -> None:
    assert module_command("poolproof.x", "a", "b") == (sys.executable, "-P", "-m", "poolproof.x", "a", "b")


PROGRAM = """
import sys
{setting}
from poolproof import PoolConfig, PoolExecutor, PoolV1, PoolV2

def pools():
    for kind, zygote in ((PoolV1, False), (PoolV2, False), (PoolV2, True)):
        with kind(PoolConfig(workers=1, zygote=zygote, start_timeout_s=60.0)) as pool:
            yield pool.execute("echo", {{"value": 1}}, checkout_timeout_s=60.0)
    with PoolExecutor(1) as executor:
        yield executor.submit(pow, 1, 1).result(30)

if __name__ == "__main__":
    print(*pools())
"""


@pytest.mark.parametrize("flags", [("-I",), ("-P",), ("-E", "-s"), ("-S",), ("-I", "-S")])
def test_workers_ignore_what_their_parent_ignores(hostile: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """PYTHONPATH has the current folder, as an empty entry, wherever the parent does not read PYTHONPATH."""
    for name in ("signal", "re", "struct", "select", "argparse", "enum"):
        (hostile / f"{name}.py").write_text(f"raise RuntimeError('the folder\\'s own {name} was imported')\n")
    home = tmp_path / "program"
    home.mkdir()
    setting = f"sys.path += {[entry for entry in sys.path if entry]!r}" if "-S" in flags else ""
    (home / "program.py").write_text(PROGRAM.format(setting=setting))
    ignored = flags not in (("-P",), ("-S",))
    done = subprocess.run(
        [sys.executable, *flags, str(home / "program.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep if ignored else ""},
        cwd=hostile,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout.split(), done.stderr) == (["1"] * 4, "")


def test_a_command_has_the_flags_of_its_parent() -> None:
    code = "from poolproof.bridge.processes.interpreter import with_flags as f; import sys\n"
    code += "from poolproof.bridge.config import module_command as c; print(f(c('poolproof.x', 'a'))[1:])\n"
    code += "print(f(('true', '-P', '-m', 'a')))"
    words = [sys.executable, "-OO", "-W", "ignore::ImportWarning", "-X", "utf8", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    first, second = done.stdout.splitlines()
    found = first.strip("()").replace("'", "").replace("-X, utf8", "-Xutf8").split(", ")
    assert [word for word in found if word != "-B"] == [
        *("-OO", "-Wignore::ImportWarning", "-Xutf8", "-P", "-m", "poolproof.x", "a")
    ]
    assert second == "('true', '-P', '-m', 'a')"


def answer() -> int:
    """A call's answer."""
    return 1


@pytest.mark.parametrize("kind", [PoolV1, PoolV2, PoolExecutor])
def test_what_the_interpreter_prints_before_the_worker_begins_is_no_response(
    kind: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A sitecustomize, a .pth file or a coverage tool may print or write to descriptor 1."""
    noise = "import os\nprint('hello', flush=True)\nos.write(1, b'\\0\\0\\0\\1x')\nprint('left in the buffer')\n"
    (tmp_path / "sitecustomize.py").write_text(noise)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    if kind is PoolExecutor:
        with PoolExecutor(1) as executor:
            assert executor.submit(answer).result(60) == 1
        return
    with kind(PoolConfig(workers=1, start_timeout_s=60.0, log_dir=str(tmp_path / "logs"))) as pool:
        assert pool.execute("echo", {"value": 1}) == 1
    [log] = (tmp_path / "logs").iterdir()
    assert log.read_bytes().startswith(b"hello\n")


LOOK = """
import sys
from poolproof.pool_v2 import PoolExecutor

if sys.flags.dev_mode:
    sys.warnoptions.remove("default")  # a program may change what it was given

def look():
    flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if name[0] not in "_nci" or name == "isolated"}
    flags.pop("safe_path")  # every worker has -P until it has adopted the path
    return flags, sys._xoptions, sys.warnoptions, sys.pycache_prefix, sys.get_int_max_str_digits()

if __name__ == "__main__":
    with PoolExecutor(max_workers=1) as executor:
        there = executor.submit(look).result(timeout=60)
    print([pair for pair in zip(look(), there) if pair[0] != pair[1]])
"""


@pytest.mark.parametrize(
    "flags",
    [
        ("-X", "dev", "-B", "-s", "-bb", "-W", "error::UserWarning"),
        ("-E", "-OO", "-X", "utf8", "-X", "no_debug_ranges", "-X", "int_max_str_digits=1000", "-X", "mine=1"),
        ("-I", "-X", "warn_default_encoding", "-X", "pycache_prefix={folder}", "-X", "frozen_modules=off"),
    ],
)
def test_a_worker_has_every_flag_and_option_of_its_parent(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    done = subprocess.run(
        [sys.executable, *(flag.format(folder=tmp_path) for flag in flags), str(tmp_path / "look.py")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


@pytest.mark.parametrize("zygote", [False, True])
def test_a_later_worker_has_the_environment_and_the_path_of_its_parent_at_its_start(
    zygote: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POOLPROOF_TEST_GONE", "before")
    with PoolExecutor(config=PoolConfig(workers=1, zygote=zygote, env={"POOLPROOF_TEST_OWN": "own"})) as executor:
        first = executor.submit(os.getpid).result(30)
        monkeypatch.setenv("POOLPROOF_TEST_LATE", "late")
        monkeypatch.setenv("POOLPROOF_TEST_OWN", "the program's")
        monkeypatch.delenv("POOLPROOF_TEST_GONE")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(WorkerCrashed):
            executor.submit(signal.raise_signal, signal.SIGKILL).result(30)
        later = [executor.submit(os.getenv, f"POOLPROOF_TEST_{name}").result(30) for name in ("LATE", "OWN", "GONE")]
        assert later == ["late", "own", None]
        assert executor.submit(os.getpid).result(30) != first


def test_a_frozen_application_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    for make in (PoolV1, PoolV2, AsyncPool, lambda config: PoolExecutor(config=config)):
        for config in (PoolConfig(), PoolConfig(zygote=True)):
            if make is not PoolV1 or not config.zygote:
                with pytest.raises(ConfigError, match=r"this application is frozen.* set worker_command"):
                    make(config)
    command = (sys.executable, "-m", "poolproof.bridge.worker.program", "--worker-id", "{worker_id}")
    with PoolV2(PoolConfig(workers=1, worker_command=command)) as pool:
        assert pool.execute("echo", {"value": 1}) == 1


def test_a_current_folder_that_was_removed_is_no_reason_to_start_no_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    gone.rmdir()
    with PoolV2(PoolConfig(workers=1)) as pool:
        assert pool.execute("echo", {"value": 1}) == 1
