"""A user's own calls, by their roles in a test, and how each answer is proven to belong to its request.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from poolproof.harness.model.errors import UsageError

Request = dict[str, Any]
Arguments = Callable[[int], Request]
ROLES = ("quick", "slow", "compute", "fails", "large", "once", "stateful")
"""The roles, in the order of their scenarios."""
MOST_CALLS = 1_000_000


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of call that the user has described. `args(n)` gives the arguments of call number n; each n is used once
    in a run.

    An answer is proven to be its request's own in one of three ways. `matches(request, answer)` returns whether it is;
    for the role `fails` the answer is the text of the error. `nonce` names the argument in which a unique word is sent
    and the field of the answer that must return it. `expects(requests)` returns the answer that the last of these
    requests must get, if all of them ran in this order in one session.
    """

    command: str
    args: Arguments = lambda _: {}
    matches: Callable[[Request, Any], bool] | None = None
    nonce: str = ""
    expects: Callable[[list[Request]], Any] | None = None
    timeout_s: float | None = None

    @property
    def proven(self) -> bool:
        """Whether the call describes how to prove that an answer belongs to its request."""
        return bool(self.matches or self.nonce or self.expects)

    def request(self, number: int) -> Request:
        """Return the arguments of call number `number`. Raises UsageError if they are no JSON object."""
        found = self.args(number)
        if not isinstance(found, Mapping):
            raise UsageError(f"the arguments of {self.command!r} are {found!r:.80}; a dict is needed")
        return {**found, self.nonce: f"nonce-{number}"} if self.nonce else dict(found)


def call(
    what: str | Callable[..., Any],
    args: Arguments | Request | None = None,
    *,
    matches: Callable[[Request, Any], bool] | None = None,
    nonce: str = "",
    expects: Callable[[list[Request]], Any] | None = None,
    timeout_s: float | None = None,
) -> Call:
    """Make a Call. `what` is the command's name or the function itself; `args` may be a dict, if all calls are equal.

    Raises UsageError for a name or arguments of the wrong type.
    """
    command = what if isinstance(what, str) else getattr(what, "__name__", "")
    if not command:
        raise UsageError(f"{what!r:.80} is no call: the name of a command or a function is needed")
    made: Arguments = args if callable(args) else (lambda _: dict(args or {}))
    return Call(command=command, args=made, matches=matches, nonce=nonce, expects=expects, timeout_s=timeout_s)


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """The user's calls by role. A scenario whose role is missing is left out.

    `quick` ends at once; `slow` waits for something outside the worker, `compute` keeps a processor busy; `fails`
    raises an error that must be reported; `large` has a large answer; `once` tells in its answer whether the request
    ran only once; `stateful` changes the state of its session and shows it in its answer.

    `calls` is how many quick calls one run makes in all: the more, the rarer a wrong answer that is found. `slower` is
    the share of the baseline's throughput that the candidate may lose; None leaves the speed out. `options` are
    options of poolproof.bridge.PoolConfig for pools that take them.
    """

    quick: Call | None = None
    slow: Call | None = None
    compute: Call | None = None
    fails: Call | None = None
    large: Call | None = None
    once: Call | None = None
    stateful: Call | None = None
    calls: int = 3000
    slower: float | None = 0.1
    options: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not self.roles():
            raise UsageError(f"Calls() has no call; its roles are {', '.join(ROLES)}")
        if not 1 <= self.calls <= MOST_CALLS:
            raise UsageError(f"calls={self.calls}: must be a whole number from 1 to {MOST_CALLS}")
        if self.slower is not None and not 0 < self.slower < 1:
            raise UsageError(f"slower={self.slower}: must be a number between 0 and 1; 10 % is 0.1")
        if self.once is not None and not self.once.proven:
            raise UsageError("the role 'once' needs matches=, which tells from the answer that the request ran once")
        if self.stateful is not None and self.stateful.expects is None:
            raise UsageError("the role 'stateful' needs expects=, which tells the answer from the session's requests")

    def roles(self) -> dict[str, Call]:
        """Return the calls by role."""
        found = {role: getattr(self, role) for role in ROLES}
        return {role: made for role, made in found.items() if made is not None}

    def lacking(self) -> list[str]:
        """Return the roles without a call."""
        return [role for role in ROLES if getattr(self, role) is None]
