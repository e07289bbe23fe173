"""What literal events add up to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest

from poolproof.bridge import OUTCOMES, Event, EventKind
from poolproof.bridge.telemetry import Aggregator, AggregatorSnapshot
from poolproof.bridge.telemetry.aggregator import MOST_WORDS

Step = Callable[..., Event]
NO_WORKERS = {"starting": 0, "idle": 0, "leased": 0, "dying": 0}


def add_up(events: Iterable[Event], **options: object) -> AggregatorSnapshot:
    tally = Aggregator(**options)  # type: ignore[arg-type]
    for event in events:
        tally.add(event)
    return tally.snapshot()


def outcomes(sums: AggregatorSnapshot) -> dict[str, int]:
    return {outcome: count for outcome, count in sums.outcomes.items() if count}


def alive(sums: AggregatorSnapshot) -> dict[str, int]:
    return {state: count for state, count in sums.workers.items() if count}


def test_nothing_has_happened() -> None:
    sums = add_up([])
    assert (sums.submitted, sums.in_flight, sums.waiting, sums.started, sums.closed) == (0, 0, 0, 0, False)
    assert sums.outcomes == dict.fromkeys(OUTCOMES, 0)
    assert (sums.workers, sums.ended) == (NO_WORKERS, {})
    assert sums.response.count == 0


def test_one_life_step_by_step(served: list[Event]) -> None:
    tally = Aggregator()
    seen = []
    for event in served:
        tally.add(event)
        sums = tally.snapshot()
        seen.append((event.kind.value, sums.submitted, sums.in_flight, sums.waiting, alive(sums)))
    assert seen == [
        ("spawn", 0, 0, 0, {"starting": 1}),
        ("ready", 0, 0, 0, {"idle": 1}),
        ("enqueue", 1, 1, 1, {"idle": 1}),
        ("offer", 1, 1, 0, {"leased": 1}),
        ("accept", 1, 1, 0, {"leased": 1}),
        ("send", 1, 1, 0, {"leased": 1}),
        ("receive", 1, 1, 0, {"leased": 1}),
        ("checkin", 1, 1, 0, {"idle": 1}),
        ("done", 1, 0, 0, {"idle": 1}),
        ("kill", 1, 0, 0, {"dying": 1}),
        ("reap", 1, 0, 0, {}),
        ("close", 1, 0, 0, {}),
    ]
    sums = tally.snapshot()
    assert (outcomes(sums), sums.started, sums.ended, sums.closed) == ({"result": 1}, 1, {"retired": 1}, True)


def test_durations_are_from_step_to_step(served: list[Event]) -> None:
    sums = add_up(served, bounds_s=(0.005, 0.02, 0.025))
    assert (sums.service.counts, sums.service.sum_s) == ((1, 0, 0, 0), 0.005)
    assert (sums.queue_wait.counts, sums.queue_wait.sum_s) == ((0, 1, 0, 0), 0.02)
    assert (sums.response.counts, sums.response.sum_s) == ((0, 0, 0, 1), 0.03)
    assert sums.response.count == 1


def test_a_wait_in_vain_counts_as_a_wait_and_no_service(step: Step) -> None:
    sums = add_up([step(0, "enqueue", 1), step(40, "withdraw", 1), step(41, "done", 1, detail="CheckoutTimeout")])
    assert (sums.queue_wait.sum_s, sums.response.sum_s, sums.service.count) == (0.041, 0.041, 0)
    assert (outcomes(sums), sums.in_flight, sums.waiting) == ({"CheckoutTimeout": 1}, 0, 0)


def test_an_unanswered_call_has_no_service(step: Step) -> None:
    events = [step(0, "enqueue", 1), step(1, "accept", 1, 1), step(2, "send", 1, 1)]
    sums = add_up([*events, step(9, "done", 1, detail="WorkerCrashed")])
    assert (sums.queue_wait.sum_s, sums.response.sum_s, sums.service.count) == (0.001, 0.009, 0)


def test_a_second_worker_after_one_found_dead_is_the_one_that_counts(step: Step) -> None:
    events = [step(0, "spawn", worker=1), step(0, "spawn", worker=2), step(1, "ready", worker=1)]
    events += [step(1, "ready", worker=2), step(2, "enqueue", 1), step(2, "accept", 1, 1)]
    events += [step(3, "reap", worker=1), step(5, "accept", 1, 2), step(6, "send", 1, 2), step(8, "receive", 1, 2)]
    sums = add_up([*events, step(9, "checkin", 1, 2), step(9, "done", 1, detail="result")])
    assert (sums.queue_wait.sum_s, sums.service.sum_s) == (0.003, 0.002)
    assert (alive(sums), sums.ended, sums.started) == ({"idle": 1}, {"died": 1}, 2)


def test_a_late_manager_changes_no_call_and_gives_its_worker_back(step: Step) -> None:
    tally = Aggregator()
    begin = [step(0, "spawn", worker=1), step(1, "ready", worker=1), step(2, "enqueue", 1)]
    for event in [*begin, step(9, "done", 1, detail="CallTimeout"), step(10, "accept", 1, 1), step(11, "send", 1, 1)]:
        tally.add(event)
    assert (tally.snapshot().in_flight, alive(tally.snapshot())) == (0, {"leased": 1})
    for event in [step(20, "receive", 1, 1), step(21, "checkin", 1, 1)]:
        tally.add(event)
    sums = tally.snapshot()
    assert (sums.submitted, sums.in_flight, alive(sums), sums.service.count) == (1, 0, {"idle": 1}, 0)


def test_an_offer_that_was_overtaken_by_its_acceptance_is_old(step: Step) -> None:
    begin = [step(0, "spawn", worker=1), step(1, "ready", worker=1), step(2, "enqueue", 1), step(4, "accept", 1, 1)]
    end = [step(5, "checkin", 1, 1), step(6, "done", 1, detail="result")]
    late = step(3, "offer", 1, 1)
    for place in range(1, 3):
        sums = add_up([*begin, *end[:place], late, *end[place:]])
        assert (alive(sums), sums.waiting) == ({"idle": 1}, 0), f"the offer came after {place} steps"


def test_a_withdrawn_offer_frees_the_worker(step: Step) -> None:
    begin = [step(0, "spawn", worker=1), step(1, "ready", worker=1), step(2, "enqueue", 1), step(3, "offer", 1, 1)]
    sums = add_up([*begin, step(4, "withdraw", 1, 1)])
    assert (alive(sums), sums.waiting, sums.in_flight) == ({"idle": 1}, 0, 1)


def test_only_the_holder_gives_a_worker_back(step: Step) -> None:
    begin = [step(0, "spawn", worker=1), step(1, "ready", worker=1), step(2, "accept", 1, 1), step(3, "accept", 2, 1)]
    assert alive(add_up([*begin, step(4, "checkin", 1, 1)])) == {"leased": 1}
    assert alive(add_up([*begin, step(4, "checkin", 2, 1)])) == {"idle": 1}


def test_dying_is_for_ever_and_the_last_reason_counts(step: Step) -> None:
    begin = [step(0, "spawn", worker=1), step(1, "kill", worker=1, detail="retired")]
    late = [step(2, "ready", worker=1), step(3, "accept", 1, 1), step(4, "checkin", 1, 1)]
    assert alive(add_up([*begin, *late])) == {"dying": 1}
    end = [step(5, "kill", worker=1, detail="did not leave in time"), step(6, "reap", worker=1)]
    sums = add_up([*begin, *late, *end])
    assert (alive(sums), sums.ended) == ({}, {"did not leave in time": 1})


def test_a_worker_that_is_gone_does_not_come_back(step: Step) -> None:
    begin = [step(0, "spawn", worker=1), step(1, "reap", worker=1)]
    late = [step(2, kind, 1, 1) for kind in ("ready", "offer", "accept", "checkin", "kill", "reap")]
    sums = add_up([*begin, *late])
    assert (sums.workers, sums.started, sums.ended) == (NO_WORKERS, 1, {"died": 1})


def test_an_outcome_whose_begin_was_lost_is_counted(step: Step) -> None:
    sums = add_up([step(1, "done", 5, detail="Cancelled")])
    assert (sums.submitted, sums.in_flight, outcomes(sums)) == (1, 0, {"Cancelled": 1})
    assert sums.response.count == 0


def test_words_without_end_are_counted_as_other(step: Step) -> None:
    many = MOST_WORDS * 3
    events = [step(0, "done", call, detail=f"outcome {call}") for call in range(many)]
    for worker in range(many):
        events += [step(0, "spawn", worker=worker), step(1, "kill", worker=worker, detail=f"reason {worker}")]
        events += [step(2, "reap", worker=worker)]
    sums = add_up(events)
    assert (len(sums.outcomes), len(sums.ended)) == (MOST_WORDS + 1, MOST_WORDS + 1)
    assert (sums.submitted, sum(sums.ended.values())) == (many, many)
    assert sums.ended["other"] == many - MOST_WORDS


@pytest.mark.parametrize("bounds", [(), (0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, float("inf")), (float("nan"),)])
def test_bounds_that_do_not_rise_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="bounds_s"):
        Aggregator(bounds_s=bounds)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_the_sums_are_conserved(step: Step, seed: int) -> None:
    rng = random.Random(seed)
    tally = Aggregator()
    kinds = [kind.value for kind in EventKind if kind is not EventKind.CLOSE]
    done = 0
    spawned: set[int] = set()
    for ms in range(300):
        kind = rng.choice(kinds)
        worker = rng.randrange(6)
        if kind == "spawn" and worker in spawned:
            continue  # an id is never used twice
        tally.add(step(ms, kind, rng.randrange(8), worker, detail="result" if kind == "done" else "dirty"))
        done += kind == "done"
        spawned |= {worker} if kind == "spawn" else set()
        sums = tally.snapshot()
        assert sums.submitted == sums.in_flight + sum(sums.outcomes.values())
        assert sums.outcomes["result"] == done
        assert sums.started == sum(sums.ended.values()) + sum(sums.workers.values()) == len(spawned)
        assert 0 <= sums.waiting <= sums.in_flight <= 8
