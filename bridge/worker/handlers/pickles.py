"""Runs a pickled call as if it were in its sender's program, and pickles the result.

Independent of frames and commands. A call may refer to its sender's main module. The main module is imported when the
first such call is read, under the name `__mp_main__`, like in multiprocessing, so that its guarded part does not run
again.
"""

from __future__ import annotations

import io
import os
import pickle
import runpy
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, TypeAlias

from poolproof.bridge.wire.buffers import Part

MAIN = "__main__"
ALIAS = "__mp_main__"
PROTOCOL = 5
_MULTIPROCESSING = "multiprocessing.process"
SMALL_BYTES = 4096
"""Up to this size, a pickle is searched for the names that need something before it is read."""
SMALLEST_OUTSIDE_BYTES = 1024
"""From this size on, a buffer of a pickled object (an array's memory) is sent beside the pickle, without a copy."""
OWN_MEMORY = (bytes, bytearray)
LARGE_BYTES = 64 * 1024
"""From this size on, bytes and bytearrays that are arguments or results are sent beside the pickle."""
Pickled: TypeAlias = tuple[bytes, list[Part]]
"""A pickle, and the bytes-like buffers outside it, in the order in which it refers to them."""


def outside(value: Any) -> Any:  # noqa: ANN401
    """Return what stands for an argument or a result in a pickle, so that its bytes are sent beside the pickle.

    `pickle` itself does that for arrays, but not for bytes and bytearray. Whoever reads the pickle gets the buffer that
    was received, and that is the value: of the same type, and without a copy.
    """
    if type(value) in OWN_MEMORY and len(value) >= LARGE_BYTES:
        return pickle.PickleBuffer(value)
    return value


def dump(value: object) -> Pickled:
    """Pickle a value. Raises whatever its reduction raises."""
    found: list[Part] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # its memory is not in one piece
            return True
        if raw.nbytes < SMALLEST_OUTSIDE_BYTES:
            return True
        memory: Any = raw.obj
        whole = type(memory) in OWN_MEMORY and len(memory) == raw.nbytes
        found.append(memory if whole else raw)
        return False

    return pickle.dumps(value, PROTOCOL, buffer_callback=keep_inside), found


class Setting:
    """What a callable may need from its sender's program: its module path, its arguments, its main module.

    The main module is identified by its name (`python -m name`) or by its file; otherwise it cannot be imported.
    `authkey` is the key of the sender's multiprocessing, without which a manager's proxy cannot be read.
    """

    importing = False
    """Whether this process is importing its sender's main module now."""

    def __init__(
        self,
        *,
        sys_path: list[str] | None = None,
        argv: list[str] | None = None,
        main_name: str | None = None,
        main_path: str | None = None,
        authkey: bytes | None = None,
    ) -> None:
        self.sys_path = sys_path
        self.argv = argv
        self.main_name = main_name
        self.main_path = main_path
        self.authkey = authkey
        self._main_imported = False

    @classmethod
    def of_this_program(cls) -> Setting:
        """Return the setting of the current process.

        The interpreter forgets the main module's file at the end of a script, before it joins its threads.
        """
        main = sys.modules[MAIN]
        name = getattr(getattr(main, "__spec__", None), "name", None)
        path = getattr(main, "__file__", None)
        if path is not None and not os.path.exists(path):
            path = None  # read from stdin ("<stdin>"), or from a file that is gone
        # The empty string in the path means the current directory, which may change, so it is replaced here.
        sys_path = [os.fspath(entry) or os.getcwd() for entry in sys.path]
        return cls(
            sys_path=sys_path,
            argv=list(sys.argv),
            main_name=name,
            main_path=os.path.abspath(path) if name is None and path is not None else None,
            authkey=_authkey(),
        )

    def write(self) -> bytes:
        """Encode the setting for `read` in another process."""
        named = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return pickle.dumps(named, PROTOCOL)

    @classmethod
    def read(cls, data: bytes) -> Setting:
        """Decode the result of `write`."""
        return cls(**pickle.loads(data))

    def adopt(self) -> None:
        """Use the sender's module path."""
        if self.sys_path is not None:
            sys.path[:] = self.sys_path
        if self.argv is not None:
            sys.argv[:] = self.argv

    def share_key(self, *, needed: bool = False) -> None:
        """Use the sender's key if this process has imported multiprocessing, or imports it now because of `needed`."""
        if self.authkey is not None and (needed or _MULTIPROCESSING in sys.modules):
            key, self.authkey = self.authkey, None
            import_module(_MULTIPROCESSING).current_process().authkey = key

    def import_main(self, wanted: str) -> None:
        """Import the sender's main module to replace this process's. Raises UnpicklingError if that fails."""
        if self._main_imported:
            return
        if self.main_name is None and self.main_path is None:
            raise _no_main(wanted, "it has no file")
        if self.main_name is not None and self.main_name.rpartition(".")[2] == MAIN:
            raise _no_main(wanted, f"{self.main_name} has no part that is not run")
        Setting.importing = True
        try:
            if self.main_name is not None:
                content = runpy.run_module(self.main_name, run_name=ALIAS, alter_sys=True)
            else:
                content = runpy.run_path(str(self.main_path), run_name=ALIAS)
        finally:
            Setting.importing = False
        module = ModuleType(ALIAS)
        module.__dict__.update(content)
        sys.modules[MAIN] = sys.modules[ALIAS] = module
        self._main_imported = True


def _authkey() -> bytes | None:
    module = sys.modules.get(_MULTIPROCESSING)
    return None if module is None else bytes(module.current_process().authkey)


def _no_main(wanted: str, why: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(
        f"{wanted!r} is of the main module, and a worker cannot import that: {why}; put it into another module"
    )


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, buffers: Sequence[Part], setting: Setting) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._setting = setting

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if module in (MAIN, ALIAS):
            self._setting.import_main(name)
        return super().find_class(module, name)


def _load(data: bytes, buffers: Sequence[Part], setting: Setting) -> Any:  # noqa: ANN401 - any pickle
    # A pickle that refers to the main module contains its name. To search a small pickle for it is cheaper than to look
    # at each name that the pickle refers to; to search a large one takes longer than to read it.
    large = len(data) > SMALL_BYTES
    named = large or b"__main__" in data or b"__mp_main__" in data
    if setting.authkey is not None:
        setting.share_key(needed=large or b"multiprocessing" in data)
    call = _Unpickler(data, buffers, setting).load() if named else pickle.loads(data, buffers=buffers)
    if setting.authkey is not None:
        setting.share_key()  # the modules of the call may have imported multiprocessing
    return call


class Runner:
    """Runs pickled calls in one setting. Every method returns a response, whatever the callable does."""

    def __init__(self, setting: Setting | None = None) -> None:
        self.setting = setting or Setting()

    def run(self, data: bytes, buffers: Sequence[Part] = (), *, result: bool = True) -> dict[str, Any]:
        """Read and run (function, arguments, named arguments). Without `result`, the return value is dropped."""
        try:
            function, positional, named = _load(data, buffers, self.setting)
        except BaseException as error:  # an import can raise anything, even SystemExit
            return _unpicklable("the call cannot be read in the worker", error, ran=False)
        pid = os.getpid()
        try:
            value = function(*positional, **named)
        except BaseException as error:  # raised again in the sender
            if os.getpid() != pid:  # a child forked by the callable: the raise ends it
                raise
            return self.give_up(error)
        return self.give(value if result else None)

    def run_each(self, data: bytes, buffers: Sequence[Part], limit_s: float) -> dict[str, Any]:
        """Read (function, list of arguments), and run the function with each until `limit_s` seconds have passed.

        The response has the answers to those that were run, at least one: `values`, their pickled results one after
        another, with `sizes`; or `each`, a list of responses as `run` gives them, if some are no plain result.
        """
        try:
            function, calls = _load(data, buffers, self.setting)
        except BaseException as error:
            return _unpicklable("the calls cannot be read in the worker", error, ran=False)
        pid, end_s = os.getpid(), time.monotonic() + limit_s
        answers: list[dict[str, Any]] = []
        plain = True
        for positional in calls:
            try:
                value = function(*positional)
            except BaseException as error:
                if os.getpid() != pid:
                    raise
                answers.append(self.give_up(error))
            else:
                answers.append(self.give(value))
                del value
            plain = plain and len(answers[-1]) == 1 and "value" in answers[-1]
            if time.monotonic() > end_s:
                break
        if not plain:
            return {"each": answers}
        values = [answer["value"] for answer in answers]
        return {"values": b"".join(values), "sizes": list(map(len, values))}

    def give(self, value: object) -> dict[str, Any]:
        """Return the response with this result."""
        try:
            data, buffers = dump(outside(value))
            return {"value": data, "buffers": buffers} if buffers else {"value": data}
        except BaseException as error:  # a `__reduce__` can raise anything, even SystemExit
            return _unpicklable("the result cannot be pickled", error)

    def give_up(self, error: BaseException) -> dict[str, Any]:
        """Return the response that the callable raised this error."""
        trace = sys.exc_info()[2]  # not an attribute of the error, which may refuse to be asked
        told = _describe(error, trace.tb_next if trace else None)
        try:
            data, buffers = dump(error)
            return {"raised": data, "buffers": buffers, "traceback": told}
        except BaseException as problem:
            answer = _unpicklable(f"{_summary(error)}: this exception cannot be pickled", problem)
            return {**answer, "traceback": told}


def _unpicklable(what: str, error: BaseException, *, ran: bool = True) -> dict[str, Any]:
    trace = _describe(error, sys.exc_info()[2])
    return {"unpicklable": what, "reason": _summary(error), "traceback": trace, "ran": ran}


def _describe(error: BaseException, trace: TracebackType | None) -> str:
    # A lone surrogate, as in a file name, is no JSON.
    try:
        told = "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:  # the error refuses to be asked for its attributes
        told = "".join(traceback.format_tb(trace)) + type(error).__name__
    return told.encode(errors="backslashreplace").decode()


def _summary(error: BaseException) -> str:
    try:
        told = "".join(traceback.format_exception_only(type(error), error)).strip()
    except BaseException:
        told = type(error).__name__
    return told.encode(errors="backslashreplace").decode()
