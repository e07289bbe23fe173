"""Commands that run pickled calls of another Python process: initialize, call.

Reading a pickle can run any code: the sender of these commands is the process that has started this worker. Modules for
pickles are imported at the first of these commands, so that other workers start as fast as before.
"""

from __future__ import annotations

from typing import Any

from poolproof.bridge.wire.buffers import BYTES_LIKE, Part
from poolproof.bridge.worker.handlers.context import Context, HandlerError, number, with_nonce

MOST_EACH_S = 60.0


def initialize(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Adopt the sender's `setting` (see `bridge.worker.handlers.pickles`), then run its `initializer`, if there is one.

    Both are pickles. Responds like `call`, with None as the result. Until this has succeeded, a call with
    `needs_initialize` is not run.
    """
    from poolproof.bridge.worker.handlers.pickles import Runner, Setting

    runner = Runner(Setting.read(_data(args, "setting")))
    runner.setting.adopt()
    if "initializer" in args:
        answer = runner.run(_data(args, "initializer"), _buffers(args), result=False)
    else:
        answer = runner.give(None)
    if "value" in answer:
        context.runner = runner
    return with_nonce(args, **answer)


def call(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Run `call`, a pickle of (function, arguments, named arguments), with the `buffers` outside it.

    The response is one of: `value`, the pickled result · `raised`, the pickled exception, with `traceback` ·
    `unpicklable`, which says what could not be pickled or read, with `reason`, `traceback`, and whether the call `ran`
    · `uninitialized`: the call was not run, because it `needs_initialize`. Pickles are bytes; `buffers` has those that
    are outside the pickle. With `each_s`, `call` is a pickle of a function and a list of arguments, and the response is
    that of `Runner.run_each`.
    """
    runner = context.runner
    if runner is None:
        if args.get("needs_initialize"):
            return with_nonce(args, uninitialized=True)
        from poolproof.bridge.worker.handlers.pickles import Runner

        runner = context.runner = Runner()
    if "each_s" in args:
        limit_s = number(args, "each_s", most=MOST_EACH_S)
        return with_nonce(args, **runner.run_each(_data(args, "call"), _buffers(args), limit_s))
    return with_nonce(args, **runner.run(_data(args, "call"), _buffers(args)))


def run_chunk(function: Any, chunk: list[tuple[Any, ...]]) -> list[Any]:  # noqa: ANN401 - any callable
    """Run several calls of one function as one call. Returns the results in order; the first exception ends it."""
    return [function(*positional) for positional in chunk]


def _data(args: dict[str, Any], name: str) -> bytes:
    value = args.get(name)
    if not isinstance(value, bytes):
        raise HandlerError(f"argument {name!r}: a pickle is needed, as bytes, not {value!r:.50}")
    return value


def _buffers(args: dict[str, Any]) -> list[Part]:
    if "buffers" not in args:
        return []
    value = args["buffers"]
    if not isinstance(value, list) or not all(isinstance(one, BYTES_LIKE) for one in value):
        raise HandlerError(f"argument 'buffers': a list of buffers is needed, not {value!r:.50}")
    return value


COMMANDS = {"initialize": initialize, "call": call}
