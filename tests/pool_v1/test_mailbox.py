"""The mailbox: messages in order, each out of it exactly once, by the manager, its caller or the close."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import PoolClosed
from poolproof.pool_v1.mailbox import Mailbox, Message


def nothing() -> None:
    """No work."""


def posted(mailbox: Mailbox, count: int) -> list[Message]:
    messages = [Message(nothing) for _ in range(count)]
    for message in messages:
        mailbox.post(message)
    return messages


def test_messages_are_taken_in_the_order_in_which_they_were_posted() -> None:
    mailbox = Mailbox("p")
    messages = posted(mailbox, 3)

    assert [mailbox.take() for _ in range(3)] == messages
    assert len(mailbox) == 0


def test_taking_waits_for_a_message(client: Callable[..., Any]) -> None:
    mailbox = Mailbox("p")
    taker = client(mailbox.take)

    (message,) = posted(mailbox, 1)

    assert taker.result() is message


def test_a_waiting_message_can_be_withdrawn_once_and_is_never_taken() -> None:
    mailbox = Mailbox("p")
    first, second, third = posted(mailbox, 3)

    assert mailbox.withdraw(second)
    assert not mailbox.withdraw(second)
    assert [mailbox.take(), mailbox.take()] == [first, third]


def test_a_message_that_was_taken_cannot_be_withdrawn() -> None:
    mailbox = Mailbox("p")
    (message,) = posted(mailbox, 1)
    mailbox.take()

    assert not mailbox.withdraw(message)


def test_closing_fails_what_waits_and_refuses_what_comes() -> None:
    mailbox = Mailbox("p")
    messages = posted(mailbox, 2)

    assert mailbox.close()
    assert mailbox.closed
    for message in messages:
        assert message.finished
        with pytest.raises(PoolClosed, match="pool 'p' was closed before the call began"):
            message.result()
    with pytest.raises(PoolClosed, match="pool 'p' is closed"):
        mailbox.post(Message(nothing))
    assert mailbox.take() is None
    assert not mailbox.close()


def test_closing_leaves_a_message_that_was_taken_to_the_manager() -> None:
    mailbox = Mailbox("p")
    (message,) = posted(mailbox, 1)
    mailbox.take()

    mailbox.close()

    assert not message.finished
    message.finish("late, but right")
    assert message.result() == "late, but right"


def test_closing_wakes_the_manager(client: Callable[..., Any]) -> None:
    mailbox = Mailbox("p")
    taker = client(mailbox.take)

    mailbox.close()

    assert taker.result() is None


def test_a_message_gives_its_value_or_raises_its_error() -> None:
    good, bad = Message(nothing), Message(nothing)
    good.finish({"any": "value"})
    bad.finish(error=ZeroDivisionError("no"))

    assert good.result() == {"any": "value"}
    with pytest.raises(ZeroDivisionError):
        bad.result()


def test_an_interrupt_in_any_of_its_functions_leaves_the_mailbox_usable(client: Callable[..., Any]) -> None:
    # CPython looks for signals where a function begins; so the interrupt comes at the n-th such place, for every n.
    class Interrupt(BaseException):
        pass

    reached = True
    n = 0
    while reached:
        mailbox = Mailbox("p")
        left, reached = n, False

        def trace(frame: object, event: str, argument: object) -> None:
            nonlocal left, reached
            if left == 0 and not reached:
                reached = True
                raise Interrupt
            left -= 1

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            mailbox.post(Message(nothing))
        except Interrupt:
            pass
        finally:
            sys.settrace(before)
        manager = client(mailbox.take)
        client(mailbox.post, Message(nothing)).result()
        assert manager.result() is not None
        n += 1
    assert n > 2
