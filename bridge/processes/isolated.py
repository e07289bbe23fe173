"""Runs a module of this package in an interpreter that ignores PYTHONPATH or the installed packages (-I, -E, -S).

A program, run by its path: `isolated.py MODULE ARGUMENTS`. The entries of the parent's path come last, so the standard
library and what this interpreter finds by itself cannot be replaced before the module takes over its parent's path
(`poolproof.bridge.processes.interpreter.adopt`).
"""

import os
import runpy
import sys

if __name__ == "__main__":
    sys.path += [entry for entry in os.environ.get("POOLPROOF_PATH", "").split(os.pathsep) if entry]
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
