"""Commands about the worker itself: ping, statistics, clean-up, shutdown."""

from __future__ import annotations

import resource
from datetime import UTC, datetime
from typing import Any

from poolproof.bridge.worker.handlers.context import Context, with_nonce


def ping(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the worker's status; also used as the init ping."""
    return with_nonce(
        args,
        status="ok",
        timestamp=datetime.now(UTC).isoformat(),
        dspy_available=_runs_dspy(context),
        uptime=context.uptime_s,
        mode=context.mode,
        worker_id=context.worker_id,
        current_session=context.current_session,
    )


def get_stats(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the worker's counts; `memory_usage` is its largest resident size in bytes."""
    return with_nonce(
        args,
        programs_count=_programs(context),
        command_count=context.command_count,
        error_count=context.error_count,
        uptime=context.uptime_s,
        memory_usage=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        dspy_available=_runs_dspy(context),
    )


def cleanup(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Remove every program, and keep all other state."""
    removed = _programs(context)
    for session in context.sessions.values():
        session.programs.clear()
        session.made.clear()
    return with_nonce(args, status="cleaned", programs_removed=removed)


def reset_state(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Forget every session and reset the counts."""
    cleared = _programs(context)
    context.sessions.clear()
    context.current_session = None
    context.command_count = context.error_count = 0
    return with_nonce(args, status="reset", programs_cleared=cleared)


def shutdown(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Respond, then exit with status 0."""
    context.leaving = True
    return with_nonce(args, status="shutting_down", worker_id=context.worker_id)


def _runs_dspy(context: Context) -> bool:
    return context.engine is not None and context.engine.name == "dspy"


def _programs(context: Context) -> int:
    return sum(len(session.programs) for session in context.sessions.values())


COMMANDS = {
    "ping": ping,
    "get_stats": get_stats,
    "cleanup": cleanup,
    "reset_state": reset_state,
    "shutdown": shutdown,
}
