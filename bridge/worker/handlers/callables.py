"""Commands that run pickled calls of another Python process: initialize, call.

Reading a pickle can run any code: the sender of these commands is the process that has started this worker. Modules for
pickles are imported at the first of these commands, so that other workers start as fast as before.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from poolproof.bridge.worker.handlers.context import Context, HandlerError, text, with_nonce

if TYPE_CHECKING:
    from poolproof.bridge.worker.handlers.pickles import Runner

_runners: WeakKeyDictionary[Context, Runner] = WeakKeyDictionary()


def initialize(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Adopt the sender's `setting` (see `bridge.worker.handlers.pickles`), then run its `initializer`, if there is one.

    Both are pickles in base64. Responds like `call`, with None as the result. Until this has succeeded, a call with
    `needs_initialize` is not run.
    """
    from poolproof.bridge.worker.handlers.pickles import Runner, Setting

    runner = Runner(Setting.read(_data(args, "setting")))
    runner.setting.adopt()
    answer = runner.run(_data(args, "initializer"), result=False) if "initializer" in args else runner.give(None)
    if "value" in answer:
        _runners[context] = runner
    return with_nonce(args, **answer)


def call(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Run `call`, a pickle in base64 of (function, arguments, named arguments).

    The response is one of: `value`, the pickled result · `raised`, the pickled exception, with `traceback` ·
    `unpicklable`, which says what could not be pickled or read, with `reason`, `traceback`, and whether the call `ran`
    · `uninitialized`: the call was not run, because it `needs_initialize`. Pickles are base64 on the wire.
    """
    runner = _runners.get(context)
    if runner is None:
        if args.get("needs_initialize"):
            return with_nonce(args, uninitialized=True)
        from poolproof.bridge.worker.handlers.pickles import Runner

        runner = _runners[context] = Runner()
    return with_nonce(args, **runner.run(_data(args, "call")))


def run_chunk(function: Any, chunk: list[tuple[Any, ...]]) -> list[Any]:  # noqa: ANN401 - any callable
    """Run several calls of one function as one call. Returns the results in order; the first exception ends it."""
    return [function(*positional) for positional in chunk]


def _data(args: dict[str, Any], name: str) -> bytes:
    try:
        return binascii.a2b_base64(text(args, name))
    except ValueError as error:  # not base64, or not even ASCII
        raise HandlerError(f"argument {name!r}: base64 is needed; {error}") from error


COMMANDS = {"initialize": initialize, "call": call}
