"""The circuit: back-off after a failed start, open after several in a row, closed by a probe."""

from __future__ import annotations

import pytest

from poolproof.pool_v2.core.circuit import Circuit

MS = 1_000_000


def failed_times(circuit: Circuit, times: int, *, now_ns: int = 0) -> Circuit:
    for _ in range(times):
        circuit.failed("no such program", now_ns)
    return circuit


def test_a_fresh_circuit_lets_every_wanted_start_through() -> None:
    circuit = Circuit(failures_to_open=3, reset_s=2.0)

    assert circuit.allowed_starts(4, 0, 0) == 4
    assert circuit.allowed_starts(4, 2, 0) == 4
    assert not circuit.tripped
    assert not circuit.refuses(0)


@pytest.mark.parametrize(
    ("failures", "delay_ms"), [(1, 50), (2, 100), (3, 200), (4, 400), (5, 800), (6, 1000), (7, 1000), (20, 1000)]
)
def test_the_delay_doubles_from_50_ms_to_at_most_a_second(failures: int, delay_ms: int) -> None:
    circuit = failed_times(Circuit(failures_to_open=100, reset_s=2.0), failures, now_ns=7 * MS)

    assert circuit.retry_at_ns == (7 + delay_ms) * MS
    assert circuit.allowed_starts(2, 0, circuit.retry_at_ns - 1) == 0
    assert circuit.allowed_starts(2, 0, circuit.retry_at_ns) == 2


def test_backing_off_is_not_yet_refusing() -> None:
    circuit = failed_times(Circuit(failures_to_open=3, reset_s=2.0), 2)

    assert not circuit.tripped
    assert not circuit.refuses(0)


def test_the_circuit_opens_at_exactly_the_stated_number_of_failures_in_a_row() -> None:
    circuit = failed_times(Circuit(failures_to_open=3, reset_s=2.0), 3, now_ns=10 * MS)

    assert circuit.tripped
    assert circuit.refuses(10 * MS)
    assert circuit.retry_at_ns == 2010 * MS
    assert circuit.allowed_starts(4, 0, 2010 * MS - 1) == 0


def test_an_open_circuit_lets_one_probe_through_and_only_one_at_a_time() -> None:
    circuit = failed_times(Circuit(failures_to_open=3, reset_s=2.0), 3)
    after = circuit.retry_at_ns

    assert not circuit.refuses(after)
    assert circuit.tripped, "it is not closed before the probe has succeeded"
    assert circuit.allowed_starts(4, 0, after) == 1
    assert circuit.allowed_starts(4, 1, after) == 0
    assert circuit.allowed_starts(0, 0, after) == 0


def test_a_probe_that_fails_opens_the_circuit_for_the_whole_time_again() -> None:
    circuit = failed_times(Circuit(failures_to_open=3, reset_s=2.0), 3)
    at = circuit.retry_at_ns + 5 * MS

    circuit.failed("still no such program", at)

    assert circuit.refuses(at)
    assert circuit.retry_at_ns == at + 2000 * MS
    assert circuit.last_error == "still no such program"


def test_a_probe_that_succeeds_closes_the_circuit_and_forgets_the_failures() -> None:
    circuit = failed_times(Circuit(failures_to_open=3, reset_s=2.0), 3)

    circuit.answered()

    assert not circuit.tripped
    assert circuit.allowed_starts(4, 0, 0) == 4
    failed_times(circuit, 1)
    assert circuit.retry_at_ns == 50 * MS, "the back-off begins anew"


def test_failures_that_a_success_interrupts_are_not_in_a_row() -> None:
    circuit = Circuit(failures_to_open=3, reset_s=2.0)
    for _ in range(5):
        failed_times(circuit, 2)
        circuit.answered()

    assert not circuit.tripped


def test_a_circuit_that_opens_at_the_first_failure_skips_the_back_off() -> None:
    circuit = failed_times(Circuit(failures_to_open=1, reset_s=0.5), 1)

    assert circuit.refuses(500 * MS - 1)
    assert not circuit.refuses(500 * MS)


def test_early_ends_that_are_too_many_make_answers_doubtful_until_there_is_a_proof() -> None:
    """Rule 4: an init ping that is answered neither ends the back-off nor closes the circuit any more."""
    circuit = Circuit(failures_to_open=3, reset_s=2.0)
    for at_ns in range(3):
        circuit.ended_early("ended", at_ns, free=1)
        circuit.answered()
    assert (circuit.failures, circuit.retry_at_ns, circuit.tripped) == (2, 2 + 100 * MS, False)
    circuit.ended_early("ended", 3, free=1)
    circuit.answered()
    assert circuit.refuses(1_999 * MS)
    circuit.proved()
    assert (circuit.failures, circuit.tripped, circuit.early_ends) == (0, False, 0)


def test_early_ends_that_are_free_delay_no_start_and_leave_answers_their_worth() -> None:
    circuit = Circuit(failures_to_open=3, reset_s=2.0)
    for at_ns in range(4):
        circuit.ended_early("ended", at_ns, free=4)
    assert (circuit.failures, circuit.allowed_starts(2, 0, 3)) == (0, 2)
    circuit.failed("no such program", 4)
    circuit.answered()
    assert (circuit.failures, circuit.early_ends) == (0, 4)
