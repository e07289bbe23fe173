"""`python -m poolproof` is the command `poolproof`, which needs the extra `harness`."""

from __future__ import annotations

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


if __name__ == "__main__":
    sys.exit(main())
