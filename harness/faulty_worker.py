"""A worker with a bad start: inflicts faults, then becomes the worker it was asked for, by exec.

It knows nothing of that worker, which may be any program. Usage:
`python -m harness.faulty_worker LOG KIND:FOR_S:AMOUNT … -- COMMAND …`
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

from bridge.clock import now_ns
from bridge.framing import encode_frame
from harness.fault import Fault, FaultKind, FaultRecord

STRAY = b'{"id": 999999, "success": true, "result": "stray"}'


def wrap(command: tuple[str, ...], faults: tuple[Fault, ...], log: str) -> tuple[str, ...]:
    """The command that starts `command` with these faults, each recorded as a line of the file `log`."""
    words = [f"{fault.kind}:{fault.for_s}:{fault.amount}" for fault in faults]
    return (sys.executable, "-m", "harness.faulty_worker", log, *words, "--", *command)


def parse(words: list[str]) -> tuple[str, list[Fault], list[str]]:
    """The log, the faults and the command that `wrap` put in. Raises ValueError for anything else."""
    border = words.index("--")
    log, *described = words[:border]
    faults = []
    for word in described:
        kind, for_s, amount = word.split(":")
        faults.append(Fault(kind=FaultKind(kind), for_s=float(for_s), amount=int(amount)))
    return log, faults, words[border + 1 :]


def inflict(fault: Fault) -> None:
    """Do it, in this process."""
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
        case _:
            raise ValueError(f"{fault.kind} is not a fault of a worker's start")


def main(words: list[str]) -> None:
    """Inflict, record, and become the worker."""
    log, faults, command = parse(words)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    for fault in faults:
        at_ns = now_ns()
        inflict(fault)
        record = FaultRecord(kind=fault.kind, at_ns=at_ns, landed=True, pid=os.getpid(), detail="at the start")
        os.write(fd, msgspec.json.encode(record) + b"\n")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
