"""The error tree: what each says of the request, and what a caller may catch it as."""

from __future__ import annotations

import pickle

import pytest

from poolproof import bridge
from poolproof.bridge import errors
from poolproof.bridge.errors import (
    CallTimeout,
    CheckoutTimeout,
    CommandError,
    InvalidRequest,
    PoolError,
    ProtocolError,
    Sent,
    WorkerCrashed,
)

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PoolError)]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_of_a_pool_is_one_tree_and_says_what_it_is_for(kind: type[PoolError]) -> None:
    assert kind.__doc__
    assert getattr(bridge, kind.__name__) is kind
    assert kind.__name__ in bridge.__all__


@pytest.mark.parametrize("kind", [kind for kind in TREE if kind is not CommandError], ids=lambda kind: kind.__name__)
def test_an_error_says_no_request_was_sent_unless_it_knows_better(kind: type[PoolError]) -> None:
    error = kind("it failed")
    assert (error.sent, error.worker_id, error.stderr_tail) == (Sent.NO, None, "")
    assert str(error) == "it failed"


def test_a_command_error_was_always_sent() -> None:
    error = CommandError("no such program", worker_id=3)
    assert (error.sent, error.worker_id, str(error)) == (Sent.YES, 3, "no such program")


def test_the_last_lines_of_stderr_stand_below_the_message() -> None:
    error = WorkerCrashed("worker 3 died", sent=Sent.MAYBE, worker_id=3, stderr_tail="Traceback\nboom")
    assert str(error) == "worker 3 died\nlast lines of the worker's stderr:\nTraceback\nboom"
    assert error.message == "worker 3 died"


def test_the_two_timeouts_are_told_apart_and_both_are_timeouts() -> None:
    assert issubclass(CheckoutTimeout, TimeoutError)
    assert issubclass(CallTimeout, TimeoutError)
    assert not issubclass(CallTimeout, CheckoutTimeout)
    assert not issubclass(CheckoutTimeout, CallTimeout)


def test_a_request_that_cannot_be_sent_is_a_value_error() -> None:
    assert issubclass(InvalidRequest, ValueError)


def test_a_protocol_error_never_leaves_a_pool_as_one_of_its_own() -> None:
    assert not issubclass(ProtocolError, PoolError)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_crosses_between_processes_with_its_message(kind: type[PoolError]) -> None:
    error = pickle.loads(pickle.dumps(kind("it failed", worker_id=2)))
    assert type(error) is kind
    assert (str(error), error.worker_id) == ("it failed", 2)


def test_what_was_sent_reads_as_the_guarantee_words_it() -> None:
    assert [sent.value for sent in Sent] == ["no", "maybe", "yes"]
