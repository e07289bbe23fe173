"""A key-value store for each session: put, get, append, list, delete, and the end of a session.

The state lives in this worker's memory alone, as the legacy programs' state did.
"""

from __future__ import annotations

from typing import Any

from poolproof.bridge.worker.handlers.context import Context, HandlerError, Program, Session, text, with_nonce


def put(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Set `key` to `value`."""
    context.session(args).values[text(args, "key")] = args.get("value")
    return with_nonce(args, stored=True)


def get(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the value of `key`; `found` is false if it has none."""
    values = context.session(args).values
    key = text(args, "key")
    return with_nonce(args, value=values.get(key), found=key in values)


def append(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Append `value` to the list at `key`. Returns the whole list."""
    values = context.session(args).values
    key = text(args, "key")
    held = values.setdefault(key, [])
    if not isinstance(held, list):
        raise HandlerError(f"the value of {key!r} is not a list")
    held.append(args.get("value"))
    return with_nonce(args, values=list(held))


def list_keys(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return all keys, sorted."""
    return with_nonce(args, keys=sorted(context.session(args).values))


def delete(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Remove `key`; `deleted` is false if it was not there."""
    values = context.session(args).values
    key = text(args, "key")
    return with_nonce(args, deleted=values.pop(key, values) is not values)


def cleanup_session(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Forget the session `session_id`."""
    name = text(args, "session_id")
    gone = context.sessions.pop(name, Session())
    if context.current_session == name:
        context.current_session = None
    return with_nonce(args, status="cleaned", session_id=name, programs_removed=len(gone.programs))


def snapshot_session(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the whole state of the session, for `restore_session` on another worker."""
    session = context.session(args)
    programs = [program.to_json() for program in session.programs.values()]
    return {"values": session.values, "programs": programs, "model": session.model}


def restore_session(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Replace the session's state with `state`, the result of `snapshot_session`."""
    state = args.get("state")
    if not isinstance(state, dict) or state.keys() != {"values", "programs", "model"}:
        raise HandlerError("argument 'state': the result of snapshot_session is needed")
    session = Session()
    session.values, session.model = dict(state["values"]), dict(state["model"])
    programs = [Program.from_json(program) for program in state["programs"]]
    session.programs = {program.program_id: program for program in programs}
    context.sessions[text(args, "session_id")] = session
    return with_nonce(args, status="restored", programs_count=len(programs))


COMMANDS = {
    "put": put,
    "get": get,
    "append": append,
    "list": list_keys,
    "delete": delete,
    "cleanup_session": cleanup_session,
    "snapshot_session": snapshot_session,
    "restore_session": restore_session,
}
