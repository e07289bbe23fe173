"""Durations on the command line: every command reads them in the same way."""

import pytest

from poolproof.harness.cli.app import main
from poolproof.harness.cli.commands.options import parse_duration
from poolproof.harness.model.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("24h", 86_400.0), ("1s", 1.0)]
)
def test_a_duration_is_a_number_with_a_unit_and_without_one_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration("--for", text, most_s=86_400.0) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0s", "0.5", "-5s", "25h", "nan", "inf", "1e3s", "5 m", "5ms", "\u0663s"])
def test_any_other_text_is_refused_with_the_limits(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_duration("--for", text, most_s=86_400.0)
    assert str(caught.value) == f"--for {text!r}: must be a duration from 1s to 24h, such as 90s, 10m or 1h"


@pytest.mark.parametrize("words", ["compare --budget", "compare --timeout", "explore --for", "simulate --for"])
def test_every_command_refuses_the_same_text(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split(), "5 minutes"]) == 2
    assert f"{words.split()[-1]} '5 minutes': must be a duration from 1s to" in capsys.readouterr().err
