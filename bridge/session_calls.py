"""The methods of a pool that follow from its `execute`: a call in a session, and a call outside any session.

Pure. Pools inherit these methods, so each pool implements `execute` alone.
"""

from __future__ import annotations

from typing import Any, Protocol


class Executes(Protocol):
    """A pool with a blocking `execute`; see poolproof.bridge.Pool."""

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run one command on a worker."""
        ...


class SessionCalls:
    """Calls `execute` of a blocking pool, in a session or outside any."""

    def execute_in_session(
        self: Executes,
        session_id: str,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """`execute` in the session `session_id`, one call at a time. The first call of a session begins it."""
        return self.execute(
            command, args, session=session_id, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
        )

    def execute_anonymous(
        self: Executes,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """`execute` outside any session."""
        return self.execute(command, args, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s)


class AwaitsExecute(Protocol):
    """A pool with an asyncio `execute`; see poolproof.AsyncPool."""

    async def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run one command on a worker."""
        ...


class AsyncSessionCalls:
    """Calls `execute` of an asyncio pool, in a session or outside any."""

    async def execute_in_session(
        self: AwaitsExecute,
        session_id: str,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """`execute` in the session `session_id`, one call at a time. The first call of a session begins it."""
        return await self.execute(
            command, args, session=session_id, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
        )

    async def execute_anonymous(
        self: AwaitsExecute,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """`execute` outside any session."""
        return await self.execute(command, args, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s)
