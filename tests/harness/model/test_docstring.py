"""Docstrings are read from the source where the interpreter has dropped them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from poolproof.harness.model.docstring import docstring_of, summary_of

CODE = """
from poolproof.harness.checkers import ALL
from poolproof.harness.model.docstring import docstring_of, summary_of
print(ALL[0].__doc__ is None, summary_of(ALL[0]), docstring_of(summary_of))
"""


def nothing() -> None:
    pass


def test_a_summary_is_the_first_line_of_a_docstring() -> None:
    assert summary_of(docstring_of).startswith("Return the docstring")
    assert (summary_of(nothing, "a default"), docstring_of(nothing)) == ("a default", "")


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_docstrings_are_there_in_an_optimized_interpreter(flag: str) -> None:
    told = [
        subprocess.run(
            [sys.executable, *flags, "-c", CODE], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for flags in ([], [flag])
    ]
    assert told[1].partition(" ")[2] == told[0].partition(" ")[2]
    assert told[1].startswith(str(flag == "-OO"))
