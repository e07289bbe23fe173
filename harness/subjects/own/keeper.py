"""Runs a service as its child, and ends the service when the process that started this one ends.

Entry point, run by its path; it imports nothing of the project. Its parent holds the other end of stdin: when
that is closed, or at SIGTERM, the service gets SIGTERM. Usage: `python keeper.py COMMAND...`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Run the command; return its status."""
    try:
        service = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]!r} cannot be started: {error.strerror}\n")
        return 127
    signal.signal(signal.SIGTERM, lambda *_: service.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def leave_with_parent() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        service.terminate()

    threading.Thread(target=leave_with_parent, daemon=True).start()
    status = service.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
