"""The requests of timed calls, and the check that each answer belongs to its request.

Pure. Each request carries a nonce, unique among the requests to its pool. An echo must return its value, with the nonce
in it. The other commands of the shipped worker put the nonce into their answer; `FIXED` has those whose whole answer
follows from the request. A foreign worker may answer a command without a nonce: such an answer cannot be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import msgspec

from poolproof.harness.history.equality import same_json
from poolproof.harness.model.workload import Step

FIXED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "sleep": lambda args: {"slept_s": args.get("seconds")},
    "put": lambda args: {"stored": True},
}
"""The answer to each of these commands, without the nonce."""
SHOWN_CHARACTERS = 120


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An answer that failed the first comparison, with its request. `expected` is None if only the nonce is known."""

    command: str
    args: dict[str, Any]
    nonce: int
    value: Any
    expected: Any = None

    @property
    def own(self) -> bool:
        """Whether the answer carries its request's nonce."""
        return type(self.value) is dict and self.value.get("nonce") == self.nonce

    def __str__(self) -> str:
        args, value = (_shorten(repr(each)) for each in (self.args, self.value))
        return f"the request {self.command} {args} was answered with {value}"


class Asked:
    """A step of a workload that a timed client sends repeatedly, each time with another nonce."""

    def __init__(self, step: Step) -> None:
        limits = {"session": step.session, "timeout_s": step.timeout_s, "checkout_timeout_s": step.checkout_timeout_s}
        self.command = step.command
        self.pause_s = step.pause_s
        self.options: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
        self.checked = step.command == "echo" or not step.verbatim
        self._args = step.args
        self._verbatim = step.verbatim
        self._session = {} if step.session is None else {"session_id": step.session}
        self._fixed = FIXED[step.command](step.args) if step.command in FIXED else None

    def request(self, nonce: int) -> tuple[dict[str, Any], Any]:
        """The arguments to send, and the expected answer; None if only its nonce is known beforehand."""
        args = self._args
        if self.command == "echo":
            if not self._verbatim:
                args = {**args, "value": [nonce, args["value"]]} if "value" in args else {**args, "nonce": nonce}
            return args, args.get("value", {**args, **self._session})
        if self._verbatim:
            return args, None
        args = {**args, "nonce": nonce}
        return args, None if self._fixed is None else {**self._fixed, "nonce": nonce}


def find_wrong(doubtful: Mapping[str, Sequence[Answer]], right: Set[str]) -> dict[str, tuple[Answer, ...]]:
    """The wrong answers of each pool, among the answers that failed the first comparison.

    `right` has the commands with at least one right answer, from any pool.
    """
    carrying = right | {answer.command for answers in doubtful.values() for answer in answers if answer.own}

    def wrong(answer: Answer) -> bool:
        if answer.command == "echo":
            return not same_json(answer.value, answer.expected)
        if answer.own:
            return answer.expected is not None and answer.command in right
        return answer.command in carrying or (isinstance(answer.value, dict) and "nonce" in answer.value)

    return {pool: tuple(filter(wrong, answers)) for pool, answers in doubtful.items()}


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
