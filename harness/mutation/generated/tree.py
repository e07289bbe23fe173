"""A copy of the package in which one file is another, so that every process of a run loads the planted source.

The copy comes first on PYTHONPATH, and each child takes over its parent's path: jobs, workers, zygotes, pool owners and
programs all load it. A planted bug may signal a wrong process or leave processes behind. So where the kernel allows it,
everything that loads the copy runs in a process namespace of its own, which ends with its first process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self

import poolproof
from poolproof.bridge.config import module_command
from poolproof.bridge.processes.interpreter import environment
from poolproof.harness.run.jobserver import JobServer

PACKAGE = "poolproof"
UNSHARE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")
DANGEROUS = ("os.kill", "killpg", "send_signal", "rmtree", "unlink")
"""Words of statements that end processes or delete files. Outside a namespace they are not mutated."""


@cache
def fence() -> tuple[str, ...]:
    """The words to put before a command to run it in its own process namespace; empty if the kernel does not allow
    that.
    """
    words = tuple(word for word in UNSHARE if os.geteuid() != 0 or word not in ("--user", "--map-root-user"))
    try:
        done = subprocess.run([*words, "true"], capture_output=True, timeout=10.0, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return words if done.returncode == 0 else ()


def package_folder() -> Path:
    """The folder of the package that this process has loaded."""
    assert poolproof.__file__ is not None
    return Path(poolproof.__file__).parent


class Tree:
    """A copy of the package in a temporary folder; a context manager. `files` are paths in the package with new texts.

    Raises KeyError if the package has no such file: a file that has moved is an error, never a mutant without effect.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def __enter__(self) -> Self:
        for name in self._files:
            if not (package_folder() / name).is_file():
                raise KeyError(f"the package has no file {name}")
        self._folder = tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True)
        self.path = Path(self._folder.name)
        copy = self.path / PACKAGE
        # Compiled files are copied with their times, so that only the planted file is compiled anew.
        shutil.copytree(package_folder(), copy, ignore=shutil.ignore_patterns("*.png", ".*"))
        for name, text in self._files.items():
            file = copy / name
            for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
                compiled.unlink()
            file.write_text(text)
        self.runtime = self.path / "run"
        self.runtime.mkdir(mode=0o700)
        self.work = self.path / "work"
        self.work.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables with which a process loads the copy, and keeps its pools' names to itself."""
        inherited = environment().get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
        path = os.pathsep.join([str(self.path), inherited] if inherited else [str(self.path)])
        return {"PYTHONPATH": path, "POOLPROOF_RUNTIME_DIR": str(self.runtime)}

    def serve_jobs(self) -> JobServer:
        """A job server whose jobs load the copy."""
        return JobServer(prefix=fence(), variables=self.variables)

    def run(self, module: str, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run a module of the copy as a program. Raises subprocess.TimeoutExpired; its processes are ended then."""
        return self.run_program(*module_command(module, *words)[1:], timeout_s=timeout_s)

    def run_program(self, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run Python with these words, as `run` does; what it writes into its folder is deleted with the copy."""
        process = subprocess.Popen(
            (*fence(), sys.executable, *words),
            env={**os.environ, **environment(), **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.work,
            text=True,
            process_group=0,
        )
        try:
            out, errors = process.communicate(timeout=timeout_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)
