"""PoolExecutor in programs of their own: what is of the main module, what is left at the end of the interpreter."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 60.0
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "executor.md"
GUARDED = """
import dataclasses, os, sys
from poolproof.pool_v2 import PoolExecutor

print("imported as", __name__)
LIMIT = len(sys.argv)

@dataclasses.dataclass
class Point:
    x: int

def move(point, by=1):
    return Point(point.x + by)

def fail():
    raise Point.Lost("lost")

class Lost(Exception):
    pass

Point.Lost = Lost

def limit():
    return LIMIT, __name__, os.getpid()

def nested(number):
    with PoolExecutor(1) as executor:
        return executor.submit(move, Point(number)).result(30)

if __name__ == "__main__":
    with PoolExecutor(1) as executor:
        moved = executor.submit(move, Point(1), by=2).result(30)
        print(moved, type(moved) is Point)
        limit, name, pid = executor.submit(limit).result(30)
        print(limit, name, pid != os.getpid())
        error = executor.submit(fail).exception(30)
        print(type(error) is Lost, "in fail" in str(error.__cause__))
        print([point.x for point in executor.map(move, map(Point, range(5)), chunksize=2)])
        print(executor.submit(nested, 7).result(30))
"""
TOLD = ["imported as __main__", "Point(x=3) True", "2 __mp_main__ True", "True True", "[1, 2, 3, 4, 5]", "Point(x=8)"]


def run(*words: str, folder: Path, code: int = 0, typed: str = "") -> tuple[str, str]:
    """Run this Python with these words and `typed` as its input; what it has printed, and on stderr."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=_environment(),
        input=typed,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def own(out: str) -> list[str]:
    """What the script itself has printed, without what its import in the workers has."""
    imported = "imported as __mp_main__"
    assert imported in out.splitlines()
    return [line for line in out.splitlines() if line != imported]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONSTARTUP"}


def test_a_script_s_own_functions_and_classes_go_and_come(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(GUARDED)
    out, err = run("script.py", "argument", folder=tmp_path)
    assert (own(out), err) == (TOLD, "")


def test_a_module_that_is_run_by_its_name_is_found_by_it(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "program.py").write_text(GUARDED)
    out, err = run("-m", "package.program", "argument", folder=tmp_path)
    assert (own(out), err) == (TOLD, "")


def test_the_program_of_the_page_works(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    out, err = run("program.py", folder=tmp_path)
    squares = [4, sum(radius**2 for radius in range(1000)), 9]
    assert [float(line) for line in out.split()] == pytest.approx([math.pi * square for square in squares])
    assert err == ""


UNGUARDED = """
from poolproof.pool_v2 import PoolExecutor

def work():
    return 1

with PoolExecutor(1) as executor:
    print(executor.submit(work).exception(30))
    print(executor.submit(abs, -1).result(30))
"""


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    out, err = run("script.py", folder=tmp_path)
    first, last = out.splitlines()
    assert first.startswith(
        "work: the call cannot be read in the worker: RuntimeError: a worker imports the main module"
    )
    assert "if __name__ == '__main__':" in first
    assert (last, err) == ("1", "")


@pytest.mark.parametrize("words", [("-c", UNGUARDED), ("-",), ("-i",), ("-c", "exec(open('gone.py').read())")])
def test_what_is_typed_at_a_prompt_is_told_to_belong_into_a_module(words: tuple[str, ...], tmp_path: Path) -> None:
    """Also a script on standard input, which Python says to be the file `<stdin>`."""
    (tmp_path / "gone.py").write_text(UNGUARDED)
    out, _ = run(*words, folder=tmp_path, typed=f"{UNGUARDED}\n\n")
    first, last = out.splitlines()
    assert "'work' is of the main module, and a worker cannot import that: it has no file" in first
    assert last == "1"


def test_a_main_module_whose_file_was_removed_is_told_so(tmp_path: Path) -> None:
    script = f"import os\nos.unlink(__file__)\n{UNGUARDED}"
    (tmp_path / "script.py").write_text(script)
    out, _ = run("script.py", folder=tmp_path)
    first, last = out.splitlines()
    assert "'work' is of the main module, and a worker cannot import that: it has no file" in first
    assert last == "1"


def test_a_package_that_is_run_is_told_that_it_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(UNGUARDED)
    out, _ = run("-m", "package", folder=tmp_path)
    first, last = out.splitlines()
    assert "'work' is of the main module, and a worker cannot import that: package.__main__" in first
    assert last == "1"


ENDINGS = {
    "an executor that nobody holds": ("PoolExecutor(1).submit(os.mkdir, 'done')", 0),
    "calls that wait": ("executor = PoolExecutor(1); [executor.submit(os.mkdir, f) for f in ('a', 'b', 'done')]", 0),
    "an executor that is being shut down": (
        "executor = PoolExecutor(1); executor.submit(os.mkdir, 'done'); executor.shutdown(wait=False)",
        0,
    ),
    "an exception": ("executor = PoolExecutor(1); executor.submit(os.mkdir, 'done'); raise SystemExit(5)", 5),
    "an executor that was never used": ("executor = PoolExecutor(1); os.mkdir('done')", 0),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_ends_when_all_was_run(tmp_path: Path, ending: str) -> None:
    code, status = ENDINGS[ending]
    out, err = run("-c", f"import os\nfrom poolproof.pool_v2 import PoolExecutor\n{code}", folder=tmp_path, code=status)
    assert (out, err) == ("", "")
    assert (tmp_path / "done").exists()


OWN = """
import os, sys
from poolproof.pool_v2 import PoolExecutor

def write(name):
    os.mkdir(name)

if __name__ == "__main__":
    executor = PoolExecutor(2)
    for name in ("a", "b", "c", "done"):
        executor.submit(write, name)
"""


@pytest.mark.parametrize("words", [("script.py",), ("-m", "script")], ids=["by its file", "by its name"])
def test_calls_of_the_main_module_run_although_the_script_has_ended(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "script.py").write_text(OWN)
    assert run(*words, folder=tmp_path) == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir() if len(path.name) in (1, 4)) == ["a", "b", "c", "done"]


PRINTING = """
import logging, os, sys, warnings
from poolproof.bridge import PoolConfig
from poolproof.pool_v2 import PoolExecutor

def talk(number):
    print("printed", number)
    logging.warning("logged %d", number)
    warnings.warn("warned")
    os.system("echo from a program")

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    options = {"worker_output": sys.argv[1]} if sys.argv[1:] else {}
    config = PoolConfig(zygote="zygote" in sys.argv, lazy=True, **options)
    with PoolExecutor(1, config=config) as executor:
        executor.submit(talk, 7).result(30)
"""


@pytest.mark.parametrize("words", [[], ["forward"], ["forward", "zygote"]], ids=str)
def test_what_workers_print_is_shown(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "script.py").write_text(PRINTING)
    out, err = run("script.py", *words, folder=tmp_path)
    assert out == "printed 7\nfrom a program\n"
    assert "WARNING:root:logged 7\n" in err
    assert "UserWarning: warned" in err


def test_what_workers_print_can_be_logged(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(PRINTING)
    out, err = run("script.py", "log", folder=tmp_path)
    assert out == ""
    for line in ("printed 7", "WARNING:root:logged 7", "from a program"):
        assert f"INFO:poolproof.workers:worker-1: {line}\n" in err


@pytest.mark.parametrize("where", ["keep", "drop"])
def test_what_workers_print_can_be_hidden(tmp_path: Path, where: str) -> None:
    (tmp_path / "script.py").write_text(PRINTING)
    assert run("script.py", where, folder=tmp_path) == ("", "")


LATE = """
import atexit
from poolproof.pool_v2 import PoolExecutor
executor = PoolExecutor(1)
def submit():
    try:
        executor.submit(abs, -1)
    except RuntimeError as error:
        print(error)
atexit.register(submit)
print(executor.submit(abs, -1).result(30))
"""


def test_nothing_can_be_submitted_when_the_program_has_begun_to_end(tmp_path: Path) -> None:
    out, err = run("-c", LATE, folder=tmp_path)
    first, last = out.splitlines()
    assert first == "1"
    assert last == "cannot schedule new futures after interpreter shutdown"
    assert err == ""


FORKED = """
import os, sys
from poolproof.pool_v2 import PoolExecutor
executor = PoolExecutor(1)
print(executor.submit(abs, -1).result(30), flush=True)
pid = os.fork()
if pid:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    print(executor.submit(abs, -2).result(30), flush=True)
"""


def test_a_forked_child_ends_at_once_and_by_itself(tmp_path: Path) -> None:
    out, err = run("-W", "ignore::DeprecationWarning", "-c", FORKED, folder=tmp_path)
    assert (out.split(), err) == (["1", "2"], "")


LEAVING = """
import os, sys
from poolproof.bridge import PoolConfig
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolExecutor, PoolV2

def leave_in_child():
    pid = os.fork()
    if not pid:
        sys.exit(int(sys.argv[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == int(sys.argv[1])

with PoolV1(PoolConfig(workers=1)) as pool:
    pool.execute("ping")
    leave_in_child()
with PoolV2(PoolConfig(workers=1)) as pool, pool.checkout() as worker:
    leave_in_child()
    worker.execute("ping")
with PoolV2(PoolConfig(workers=1)) as pool, pool.execute_stream("parts", {"count": 2}) as parts:
    next(parts)
    leave_in_child()
    assert len(list(parts)) == 1
with PoolExecutor(1) as executor:
    executor.submit(abs, -1).result(30)
    leave_in_child()
    executor.submit(abs, -1).result(30)
print("the end")
"""


@pytest.mark.parametrize("status", ["0", "3"])
def test_a_forked_child_that_exits_within_a_with_block_shows_no_traceback(tmp_path: Path, status: str) -> None:
    assert run("-W", "ignore::DeprecationWarning", "-c", LEAVING, status, folder=tmp_path) == ("the end\n", "")
