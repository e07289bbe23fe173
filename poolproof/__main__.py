"""`python -m poolproof` is the command `poolproof`, which needs the extra `harness`."""

from __future__ import annotations

import os
import sys

TOOLS = ("coverage", "jinja2", "numpy", "psutil", "pytest", "rich", "typer")


def main() -> int:
    """Run the command; the exit code, 2 where the test tool is not installed."""
    try:
        from poolproof.harness.cli.app import main as run
    except ModuleNotFoundError as error:
        if error.name not in TOOLS:
            raise
        sys.stderr.write(f"poolproof: the command needs {error.name}: pip install 'poolproof[harness]'\n")
        return 2
    return run()


def _look_here_last() -> None:
    # So that `python -m poolproof` is as the installed command: no file of the current folder can stand in for
    # a module that the command needs. Where the folder has this package itself, all is found in it.
    here = os.getcwd()
    if sys.path[0] == here != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
        sys.path.append(sys.path.pop(0))


if __name__ == "__main__":
    _look_here_last()
    sys.exit(main())
