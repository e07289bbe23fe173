"""A worker with a bad start: what `wrap` puts in `parse` takes out, and each fault is inflicted and recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge.clock import now_ns
from poolproof.bridge.wire.framing import FrameDecoder
from poolproof.bridge.wire.messages import decode_response
from poolproof.harness.faults.faulty_worker import CRASH_STATUS, STRAY, claim, inflict, lift, main, parse, wrap
from poolproof.harness.model.fault import COMMAND_FAULTS, START_FAULTS, Fault, FaultKind, FaultRecord

LIMIT_S = 30.0
COMMAND = (sys.executable, "-c", "import sys; print('I am', sys.argv[1:])", "--", "x y", "")


@pytest.mark.parametrize(
    "faults",
    [
        (),
        (Fault(kind=FaultKind.SLOW_START, for_s=0.25),),
        (
            Fault(kind=FaultKind.STRAY_START, for_s=1.5, amount=7, starts=2),
            Fault(kind=FaultKind.NOISY_START, amount=300_000),
            Fault(kind=FaultKind.CRASH_START, starts=3, again=True),
        ),
    ],
)
def test_what_was_wrapped_is_parsed_again(faults: tuple[Fault, ...]) -> None:
    words = wrap(COMMAND, faults, "/some/log file")
    assert words[:4] == (sys.executable, "-P", "-m", "poolproof.harness.faults.faulty_worker")
    assert parse(list(words[4:])) == ("/some/log file", list(faults), list(COMMAND))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--", "command"],
        ["log", "slow_start:0:0:0:0", "command"],
        ["log", "gossip:0:0:0:0", "--", "command"],
        ["log", "slow_start:soon:0:0:0", "--", "command"],
        ["log", "slow_start", "--", "command"],
    ],
)
def test_words_that_wrap_never_makes_are_refused(words: list[str]) -> None:
    with pytest.raises(ValueError):
        parse(words)


@pytest.mark.parametrize("kind", sorted(set(FaultKind) - START_FAULTS))
def test_only_faults_of_a_start_can_be_inflicted_here(kind: FaultKind) -> None:
    with pytest.raises(ValueError, match="is not a fault of a worker's start"):
        inflict(Fault(kind=kind))


def test_no_fault_belongs_to_two_who_inflict() -> None:
    assert not START_FAULTS & COMMAND_FAULTS


def test_each_fault_of_a_start_does_what_it_says(capfd: pytest.CaptureFixture[str]) -> None:
    began_ns = now_ns()
    inflict(Fault(kind=FaultKind.SLOW_START, for_s=0.05))
    assert now_ns() - began_ns >= 50_000_000
    inflict(Fault(kind=FaultKind.STRAY_START))
    inflict(Fault(kind=FaultKind.NOISY_START, amount=100_000))
    out, err = capfd.readouterr()
    assert out.count("stray") == 1
    assert len(err) >= 100_000
    assert err.endswith("\n")


def test_the_faults_are_recorded_before_the_worker_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[str, list[str], int]] = []
    log = tmp_path / "log"

    def become(program: str, command: list[str]) -> None:
        begun.append((program, command, len(log.read_bytes().splitlines())))

    monkeypatch.setattr(os, "execvp", become)
    faults = (Fault(kind=FaultKind.SLOW_START, for_s=0.001), Fault(kind=FaultKind.NOISY_START))
    main(list(wrap(COMMAND, faults, str(log))[4:]))
    assert begun == [(sys.executable, list(COMMAND), 2)]


def start(log: Path, *faults: Fault) -> tuple[Any, list[FaultRecord], int]:
    began_ns = now_ns()
    done = subprocess.run(wrap(COMMAND, faults, str(log)), capture_output=True, timeout=LIMIT_S, check=True)
    records = [msgspec.json.decode(line, type=FaultRecord) for line in log.read_bytes().splitlines()]
    return done, records, began_ns


def test_a_slow_start_takes_its_time_and_becomes_the_worker(tmp_path: Path) -> None:
    done, (record,), began_ns = start(tmp_path / "log", Fault(kind=FaultKind.SLOW_START, for_s=0.2))
    assert done.stdout == b"I am ['--', 'x y', '']\n"
    assert now_ns() - began_ns >= 200_000_000
    assert (record.kind, record.landed, record.detail) == (FaultKind.SLOW_START, True, "at the start")
    assert record.at_ns >= began_ns
    assert record.pid is not None


def test_a_stray_start_writes_frames_that_answer_nothing(tmp_path: Path) -> None:
    fault = Fault(kind=FaultKind.STRAY_START, for_s=0.05, amount=3)
    done, (record,), _ = start(tmp_path / "log", fault)
    frames, marker, rest = done.stdout.partition(b"I am")
    payloads = FrameDecoder(limit_bytes=1024).feed(frames)
    assert [bytes(payload) for payload in payloads] == [STRAY] * 3
    assert decode_response(STRAY).id == json.loads(STRAY)["id"] != 0
    assert marker
    assert rest
    assert record.kind is FaultKind.STRAY_START


def test_a_noisy_start_floods_stderr(tmp_path: Path) -> None:
    done, (record,), _ = start(tmp_path / "log", Fault(kind=FaultKind.NOISY_START, amount=200_000))
    assert len(done.stderr) >= 200_000
    assert done.stdout.startswith(b"I am")
    assert record.kind is FaultKind.NOISY_START


def test_several_faults_come_in_order_and_a_second_start_adds_its_own(tmp_path: Path) -> None:
    faults = (Fault(kind=FaultKind.NOISY_START, amount=10), Fault(kind=FaultKind.SLOW_START, for_s=0.01))
    start(tmp_path / "log", *faults)
    _, records, _ = start(tmp_path / "log", *faults)
    assert [record.kind for record in records] == [FaultKind.NOISY_START, FaultKind.SLOW_START] * 2
    assert len({record.pid for record in records}) == 2


def test_an_unknown_fault_starts_no_worker(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "poolproof.harness.faults.faulty_worker",
        str(tmp_path / "log"),
        "kill:0:0:0:0",
        "--",
        *COMMAND,
    ]
    done = subprocess.run(words, capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode != 0
    assert done.stdout == b""
    assert b"kill is not a fault" in done.stderr


def test_a_crashing_start_exits_with_a_status_and_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = wrap(COMMAND, (Fault(kind=FaultKind.CRASH_START),), str(log))
    done = subprocess.run(words, capture_output=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (CRASH_STATUS, b"")
    assert b"before the init ping" in done.stderr
    assert msgspec.json.decode(log.read_bytes(), type=FaultRecord).kind is FaultKind.CRASH_START


def test_a_mute_start_sends_stray_frames_until_nobody_reads_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = wrap(COMMAND, (Fault(kind=FaultKind.MUTE_START),), str(log))
    with subprocess.Popen(words, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.read(2 * (4 + len(STRAY))).count(b"stray") == 2
        worker.stdout.close()
        assert worker.wait(LIMIT_S) == 0
    assert msgspec.json.decode(log.read_bytes(), type=FaultRecord).landed


def test_only_the_first_starts_are_spoilt_and_none_after_the_lift(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    few, all_of_them = Fault(kind=FaultKind.CRASH_START, starts=2), Fault(kind=FaultKind.SLOW_START)
    assert [claim(few, log) for _ in range(4)] == [True, True, False, False]
    assert [claim(all_of_them, log) for _ in range(4)] == [True] * 4
    lift(log)
    lift(log)
    assert not claim(all_of_them, log)
    assert not claim(Fault(kind=FaultKind.MUTE_START, starts=9), log)


def test_one_start_goes_well_between_those_that_are_spoilt_again(tmp_path: Path) -> None:
    fault = Fault(kind=FaultKind.CRASH_START, starts=2, again=True)
    assert [claim(fault, str(tmp_path / "log")) for _ in range(7)] == [True, True, False, True, True, False, True]


def test_a_start_that_is_not_spoilt_becomes_the_worker_and_records_nothing(tmp_path: Path) -> None:
    lift(str(tmp_path / "log"))
    done, records, _ = start(tmp_path / "log", Fault(kind=FaultKind.CRASH_START))
    assert done.stdout.startswith(b"I am")
    assert records == []
