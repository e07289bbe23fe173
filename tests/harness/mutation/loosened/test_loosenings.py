"""Loosenings of a checker on a literal source."""

from __future__ import annotations

import pytest

from poolproof.harness.mutation.generated.tree import package_folder
from poolproof.harness.mutation.loosened.check import find_affected, module_of, read_checkers
from poolproof.harness.mutation.loosened.loosenings import LOOSENINGS, find_loosenings
from poolproof.harness.mutation.operators.places import mutate

CHECKER = """
EARLY_S = 0.02
NAME = "a"

class Slow:
    within_s: float
    most: int | None = 3
    label: str = "b"

    def check(self, times):
        if self.most is None:
            return 0
        return times > self.within_s + EARLY_S
"""

RETURN = "return times > ((self.within_s) {} 10) + EARLY_S"


def loosened(operator: str) -> list[str]:
    found = []
    for place in find_loosenings({"a.py": CHECKER}):
        text = mutate(CHECKER, place)
        assert text is not None
        assert text.count("\n") == CHECKER.count("\n")
        if place.operator == operator:
            found.append(text.splitlines()[place.line - 1].strip())
    return found


@pytest.mark.parametrize(
    ("operator", "lines"),
    [
        (
            "always_true",
            ["if ((self.most is None) | True):", "return ((times > self.within_s + EARLY_S) | True)"],
        ),
        (
            "always_false",
            ["if ((self.most is None) & False):", "return ((times > self.within_s + EARLY_S) & False)"],
        ),
        (
            "ten_times",
            [
                "EARLY_S = ((0.02) * 10)",
                "most: int | None = ((3) * 10)",
                "return times > ((self.within_s) * 10) + EARLY_S",
            ],
        ),
        (
            "a_tenth",
            [
                "EARLY_S = ((0.02) / 10)",
                "most: int | None = ((3) / 10)",
                "return times > ((self.within_s) / 10) + EARLY_S",
            ],
        ),
    ],
)
def test_a_comparison_and_a_bound_are_loosened_so(operator: str, lines: list[str]) -> None:
    assert loosened(operator) == lines


def test_every_checker_and_budget_has_loosenings() -> None:
    files = read_checkers(package_folder())
    places = find_loosenings(files)
    assert {place.operator for place in places} == LOOSENINGS.keys()
    assert {place.file for place in places} >= {file for file in files if " < " in files[file] or " > " in files[file]}
    assert "harness/model/timing/budget.py" in {place.file for place in places}


def test_a_module_affects_all_that_import_it() -> None:
    files = {
        "harness/checkers/a.py": "x = 1\n",
        "harness/checkers/b.py": "from poolproof.harness.checkers.a import x\n",
        "harness/checkers/__init__.py": "from poolproof.harness.checkers.b import x\n",
    }
    affected = find_affected(files)
    assert module_of("harness/checkers/__init__.py") == "poolproof.harness.checkers"
    assert affected["poolproof.harness.checkers.a"] == {
        "poolproof.harness.checkers",
        "poolproof.harness.checkers.a",
        "poolproof.harness.checkers.b",
    }
    assert affected["poolproof.harness.checkers"] == {"poolproof.harness.checkers"}
