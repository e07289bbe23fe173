"""A signature is read from JSON or from a string, and what is wrong with it is named."""

from __future__ import annotations

import pytest

from poolproof.bridge.dspy.signature import Field, Signature, read_signature
from poolproof.bridge.worker.handlers import HandlerError


def test_fields_are_names_or_have_a_type_and_a_description() -> None:
    read = read_signature(
        {
            "inputs": ["q", {"name": "n", "type": "integer", "description": "how many"}],
            "outputs": [{"name": "a", "type": "list[str]", "desc": "all"}],
            "instructions": "Answer.",
        }
    )
    assert read == Signature((Field("q"), Field("n", "int", "how many")), (Field("a", "list[str]", "all"),), "Answer.")
    assert read_signature(read.to_json()) == read


@pytest.mark.parametrize(
    ("text", "inputs", "outputs"),
    [
        ("q -> a", ["q: str"], ["a: str"]),
        ("q,n:int->a : float , b", ["q: str", "n: int"], ["a: float", "b: str"]),
        ("d: dict[str, int] -> k: Literal['a, b', 'c'], l: list[tuple[int, str]]",
         ["d: dict[str, int]"], ["k: Literal['a, b', 'c']", "l: list[tuple[int, str]]"]),
    ],
)  # fmt: skip
def test_a_string_is_split_at_the_commas_that_are_in_no_bracket(
    text: str, inputs: list[str], outputs: list[str]
) -> None:
    read = read_signature(text)
    assert [f"{field.name}: {field.type}" for field in read.inputs] == inputs
    assert [f"{field.name}: {field.type}" for field in read.outputs] == outputs


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("q", "one '->' between inputs and outputs is needed, not 'q'"),
        ("q -> a -> b", "one '->'"),
        (" -> a", "inputs must be fields between commas"),
        ("q -> a,,b", "outputs must be fields between commas"),
        ("q -> q", "the field 'q' is listed twice"),
        ({"inputs": [{"name": "q", "kind": "int"}], "outputs": ["a"]}, "the field 'q' has 'kind'"),
        ({"inputs": [{"name": "q", "type": 5}], "outputs": ["a"]}, "type and description of the field 'q' must be"),
        ({"inputs": ["q"], "outputs": ["a"], "instructions": 5}, "instructions must be a string, not 5"),
    ],
)
def test_what_is_no_signature_is_named(value: object, reason: str) -> None:
    with pytest.raises(HandlerError) as caught:
        read_signature(value)
    assert reason in str(caught.value)
