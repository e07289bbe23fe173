"""The mailbox: messages in order, each out of it exactly once, by the manager, its caller or the close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge import PoolClosed
from pool_v1.mailbox import Mailbox, Message


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
    assert all(message.taken.is_set() for message in messages)


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
    assert not second.taken.is_set()


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
        assert message.done.is_set()
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

    assert not message.done.is_set()
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
