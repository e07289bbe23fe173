"""A program that makes a worker's start faulty: it injects faults, then becomes the requested worker by exec.

It knows nothing of that worker, which may be any program. Usage:
`python -m poolproof.harness.faults.faulty_worker LOG KIND:FOR_S:AMOUNT:STARTS:AGAIN … -- COMMAND …`
If the file LOG.lifted exists, no further start is faulty.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

import msgspec

from poolproof.bridge.clock import now_ns
from poolproof.bridge.config import module_command
from poolproof.bridge.wire.framing import encode_frame
from poolproof.harness.model.fault import Fault, FaultKind, FaultRecord

STRAY = b'{"id": 999999, "success": true, "result": "stray"}'
STRAY_EVERY_S = 0.02
CRASH_STATUS = 7


def wrap(command: tuple[str, ...], faults: tuple[Fault, ...], log: str) -> tuple[str, ...]:
    """Return the command that starts `command` with these faults; each fault adds a line to the file `log`."""
    words = [f"{fault.kind}:{fault.for_s}:{fault.amount}:{fault.starts}:{int(fault.again)}" for fault in faults]
    return module_command("poolproof.harness.faults.faulty_worker", log, *words, "--", *command)


def parse(words: list[str]) -> tuple[str, list[Fault], list[str]]:
    """Parse the arguments that `wrap` made into the log, the faults and the command. Raises ValueError for others."""
    border = words.index("--")
    log, *described = words[:border]
    faults = []
    for word in described:
        kind, for_s, amount, starts, again = word.split(":")
        faults.append(
            Fault(
                kind=FaultKind(kind), for_s=float(for_s), amount=int(amount), starts=int(starts), again=bool(int(again))
            )
        )
    return log, faults, words[border + 1 :]


def lift(log: str) -> None:
    """Lift the faults: no further start is faulty. Idempotent."""
    Path(f"{log}.lifted").touch()


def claim(fault: Fault, log: str) -> bool:
    """Return whether the fault affects this start. Concurrent starts claim different numbers."""
    if os.path.exists(f"{log}.lifted"):
        return False
    if not fault.starts:
        return True
    for number in itertools.count() if fault.again else range(fault.starts):
        try:
            os.close(os.open(f"{log}.{fault.kind}.{number}", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        except FileExistsError:
            continue
        return number % (fault.starts + 1) < fault.starts
    return False


def inflict(fault: Fault) -> None:
    """Inject the fault in this process."""
    match fault.kind:
        case FaultKind.SLOW_START:
            time.sleep(fault.for_s)
        case FaultKind.STRAY_START:
            for _ in range(max(1, fault.amount)):
                os.write(1, encode_frame(STRAY))
                time.sleep(fault.for_s / max(1, fault.amount))
        case FaultKind.NOISY_START:
            left = fault.amount
            while left > 0:
                left -= os.write(2, b"x" * min(left, 65535) + b"\n")
        case FaultKind.MUTE_START:
            try:
                while True:  # until the pool kills this process, or is gone
                    os.write(1, encode_frame(STRAY))
                    time.sleep(STRAY_EVERY_S)
            except BrokenPipeError:
                os._exit(0)
        case FaultKind.CRASH_START:
            os.write(2, b"exiting before the init ping is answered, as planned\n")
            os._exit(CRASH_STATUS)
        case _:
            raise ValueError(f"{fault.kind} is not a fault of a worker's start")


def main(words: list[str]) -> None:
    """Inject the faults, record them, and become the worker."""
    log, faults, command = parse(words)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    for fault in faults:
        if not claim(fault, log):
            continue
        record = FaultRecord(kind=fault.kind, at_ns=now_ns(), landed=True, pid=os.getpid(), detail="at the start")
        final = fault.kind in (FaultKind.MUTE_START, FaultKind.CRASH_START)  # these never return
        if not final:
            inflict(fault)
        os.write(fd, msgspec.json.encode(record) + b"\n")
        if final:
            inflict(fault)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
