"""The worker's commands for pickled callables: what runs, in whose setting, and every answer that there is."""

from __future__ import annotations

import operator
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge.worker.handlers import COMMANDS, Context, HandlerError
from poolproof.bridge.worker.handlers.callables import run_chunk
from poolproof.bridge.worker.handlers.pickles import ALIAS, MAIN, Setting


def packed(function: Any, *args: Any, **named: Any) -> bytes:
    """A call as it comes over the wire."""
    return pickle.dumps((function, args, named))


def call(context: Context, function: Any, *args: Any, **options: Any) -> Any:
    """The answer to a call."""
    return COMMANDS["call"](context, {"call": packed(function, *args), **options})


def initialize(context: Context, setting: Setting, **args: Any) -> Any:
    """The answer to an initialization."""
    return COMMANDS["initialize"](context, {"setting": setting.write(), **args})


@pytest.fixture(autouse=True)
def own_setting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an initialization changes in this process is as before afterwards."""
    mains = {name: sys.modules[name] for name in (MAIN, ALIAS) if name in sys.modules}
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    yield
    sys.modules.pop(ALIAS, None)
    sys.modules.update(mains)


def test_a_call_s_result_comes_pickled(context: Context) -> None:
    answer = call(context, pow, 2, 10, nonce=4)
    assert answer.keys() == {"value", "nonce"}
    assert pickle.loads(answer["value"]) == 1024
    assert answer["nonce"] == 4


def test_named_arguments_are_given_by_name(context: Context) -> None:
    answer = COMMANDS["call"](context, {"call": packed(int, "ff", base=16)})
    assert pickle.loads(answer["value"]) == 255


@pytest.mark.parametrize("code", ["raise ValueError('told')", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_whatever_a_call_raises_comes_pickled_with_its_traceback(context: Context, code: str) -> None:
    answer = call(context, exec, code)
    raised = pickle.loads(answer["raised"])
    assert type(raised).__name__ in code
    assert answer["traceback"].startswith("Traceback")
    assert type(raised).__name__ in answer["traceback"]
    assert "pickles.py" not in answer["traceback"], "it begins with the callable"


def test_a_result_that_cannot_be_pickled_is_told(context: Context) -> None:
    answer = call(context, threading.Lock)
    assert answer["unpicklable"] == "the result cannot be pickled"
    assert answer["reason"].startswith("TypeError: ")
    assert answer["ran"] is True


def test_an_exception_that_cannot_be_pickled_is_told_with_its_own_traceback(context: Context) -> None:
    answer = call(context, exec, "import threading; raise ValueError('mine', threading.Lock())")
    assert "ValueError: ('mine', " in answer["unpicklable"]
    assert "this exception cannot be pickled" in answer["unpicklable"]
    assert answer["reason"].startswith("TypeError: ")
    assert "raise" in answer["traceback"] or "<string>" in answer["traceback"]
    assert answer["ran"] is True


@pytest.mark.parametrize("data", [b"no pickle", b"", pickle.dumps(1), pickle.dumps((pow, (1, 2)))])
def test_what_is_no_call_is_told(context: Context, data: bytes) -> None:
    answer = COMMANDS["call"](context, {"call": data})
    assert answer["unpicklable"] == "the call cannot be read in the worker"
    assert answer["ran"] is False


@pytest.mark.parametrize("text", ["text", None, 5])
def test_what_is_not_bytes_is_refused(context: Context, text: Any) -> None:
    with pytest.raises(HandlerError, match="argument 'call': a pickle is needed, as bytes, not "):
        COMMANDS["call"](context, {"call": text})


def test_a_call_that_needs_an_initialization_is_not_run_before(context: Context, tmp_path: Path) -> None:
    made = str(tmp_path / "made")
    assert call(context, os.mkdir, made, needs_initialize=True, nonce=1) == {"uninitialized": True, "nonce": 1}
    assert not os.path.exists(made)
    assert pickle.loads(initialize(context, Setting.of_this_program())["value"]) is None
    assert pickle.loads(call(context, os.mkdir, made, needs_initialize=True)["value"]) is None
    assert os.path.exists(made)
    context = Context(2, "test", lambda frame: None)
    assert call(context, abs, -1, needs_initialize=True) == {"uninitialized": True}, "each by itself"


def test_an_initializer_runs_in_the_sender_s_setting_and_its_result_is_nobody_s(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INITIALIZED", "")
    code = "import os, sys, threading; os.environ['INITIALIZED'] = sys.argv[0]; lock = threading.Lock()"
    setting = Setting(sys_path=[str(tmp_path), *sys.path], argv=["its program"])
    answer = initialize(context, setting, initializer=packed(exec, code), nonce=3)
    assert (pickle.loads(answer["value"]), answer["nonce"]) == (None, 3)
    assert os.environ["INITIALIZED"] == "its program"
    assert sys.path[0] == str(tmp_path)
    answer = initialize(Context(2, "test", lambda frame: None), setting, initializer=packed(threading.Lock))
    assert pickle.loads(answer["value"]) is None


def test_an_initializer_that_fails_leaves_the_worker_uninitialized(context: Context) -> None:
    setting = Setting()
    answer = initialize(context, setting, initializer=packed(operator.truediv, 1, 0))
    assert isinstance(pickle.loads(answer["raised"]), ZeroDivisionError)
    assert call(context, abs, -1, needs_initialize=True) == {"uninitialized": True}


@pytest.mark.parametrize("buffers", [b"", ["text"], None, [1]])
def test_buffers_are_a_list_of_bytes_like_values(context: Context, buffers: Any) -> None:
    with pytest.raises(HandlerError, match="argument 'buffers': a list of buffers is needed, not "):
        COMMANDS["call"](context, {"call": packed(abs, 1), "buffers": buffers})


def test_a_chunk_is_several_calls() -> None:
    assert run_chunk(pow, [(2, 3), (3, 2)]) == [8, 9]
    with pytest.raises(ZeroDivisionError):
        run_chunk(divmod, [(1, 1), (1, 0)])


def test_the_setting_of_a_program_is_read_as_it_was_written() -> None:
    setting = Setting.of_this_program()
    assert vars(Setting.read(setting.write())) == vars(setting)
    assert setting.sys_path is not None
    assert "" not in setting.sys_path


def _of_main(name: str) -> bytes:
    # A reference to something of the main module, as the sender's pickle has it.
    return b"\x80\x05(" + f"c__main__\n{name}\n".encode() + b"(t}t."


def test_what_is_of_the_main_module_is_looked_for_in_the_sender_s(context: Context, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('imported')\ndef work(): return __name__\nif __name__ == '__main__': raise SystemExit\n")
    initialize(context, Setting(main_path=str(script)))
    for _ in range(2):
        answer = COMMANDS["call"](context, {"call": _of_main("work")})
        assert pickle.loads(answer["value"]) == "__mp_main__"
    assert sys.modules[MAIN] is sys.modules[ALIAS]
    assert not Setting.importing


def test_a_main_module_that_fails_is_told_with_where(context: Context, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nsys.exit('it does everything at once')\n")
    initialize(context, Setting(main_path=str(script)))
    answer = COMMANDS["call"](context, {"call": _of_main("work")})
    assert answer["reason"] == "SystemExit: it does everything at once"
    assert "script.py" in answer["traceback"]
    assert answer["ran"] is False
    assert not Setting.importing


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (Setting(), "it has no file"),
        (Setting(main_name="package.__main__"), "package.__main__ has no part that is not run"),
        (Setting(main_name="__main__"), "__main__ has no part that is not run"),
    ],
)
def test_a_main_module_that_cannot_be_imported_is_told(context: Context, setting: Setting, told: str) -> None:
    initialize(context, setting)
    answer = COMMANDS["call"](context, {"call": _of_main("work")})
    assert "'work' is of the main module, and a worker cannot import that" in answer["reason"]
    assert told in answer["reason"]


def test_a_main_module_is_imported_by_its_name_if_it_has_one(context: Context, tmp_path: Path) -> None:
    (tmp_path / "a_program_of_its_own.py").write_text("def work(): return __name__\n")
    initialize(context, Setting(main_name="a_program_of_its_own", sys_path=[str(tmp_path), *sys.path]))
    answer = COMMANDS["call"](context, {"call": _of_main("work")})
    assert pickle.loads(answer["value"]) == "__mp_main__"


def test_a_text_that_names_the_main_module_needs_none(context: Context) -> None:
    answer = call(context, str.upper, "__main__")
    assert pickle.loads(answer["value"]) == "__MAIN__"


def test_the_setting_of_a_script_names_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").touch()
    main = type(sys)("__main__")
    main.__spec__ = None
    main.__file__ = "script.py"
    monkeypatch.setitem(sys.modules, MAIN, main)
    assert Setting.of_this_program().main_path == os.path.abspath("script.py")


def test_a_worker_that_runs_no_pickles_imports_nothing_for_them() -> None:
    code = (
        "import poolproof.bridge.worker.program, sys; print('poolproof.bridge.worker.handlers.pickles' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
