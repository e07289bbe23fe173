"""Drawing: the same mutants for a seed, and every operator and package gets its turn."""

from __future__ import annotations

from itertools import islice

from poolproof.harness.mutation.generated.draw import all_places, digest, draw

LINES = "".join(f"    f({number}, a)\n    if a < {number}.5:\n        raise ValueError\n" for number in range(20))
TEXTS = {f"{package}/a.py": f"def g(a):\n{LINES}" for package in ("bridge", "migration", "pool_v1", "pool_v2")}
PLACES = all_places(TEXTS)


def test_a_seed_always_draws_the_same_and_another_seed_others() -> None:
    one, again, other = (list(islice(draw(all_places(TEXTS), seed), 40)) for seed in (1, 1, 2))
    assert one == again
    assert {place.key for place in one} != {place.key for place in other}


def test_operators_and_packages_take_turns() -> None:
    operators = {place.operator for place in PLACES}
    first = list(islice(draw(PLACES, 1), len(operators) * 4))
    for operator in operators:
        assert {place.package for place in first if place.operator == operator} == {
            file.split("/")[0] for file in TEXTS
        }


def test_an_operator_changes_a_line_once_at_most() -> None:
    drawn = list(draw(PLACES, 1))
    lines = [(place.operator, place.file, place.line) for place in drawn]
    assert len(set(lines)) == len(lines) == len({(place.operator, place.file, place.line) for place in PLACES})


def test_another_text_is_another_version() -> None:
    assert digest(TEXTS) == digest(dict(reversed(TEXTS.items())))
    assert digest(TEXTS) != digest({**TEXTS, "bridge/a.py": "x = 1\n"})
