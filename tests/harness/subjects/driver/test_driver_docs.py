"""The pages about drivers and journals: their rules are the check's, and their code works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from poolproof.bridge.worker.intervals import read_journals
from poolproof.harness.subjects.driver import check, messages
from poolproof.harness.subjects.driver.check import RULES, check_driver

DOCS = Path(__file__).parents[4] / "docs" / "reference"
REQUEST = {"id": 7, "command": "echo", "args": {"nonce": "1.0.3"}}


def code(page: str, language: str) -> str:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    return found[-1]


def test_the_page_has_the_rules_of_the_check_in_the_same_words() -> None:
    told = re.findall(r"^\| (D\d+) \| (.*?) \|$", (DOCS / "driver.md").read_text(), re.M)
    assert [(number, text.replace("`", "")) for number, text in told] == [(rule.number, rule.text) for rule in RULES]


def test_the_page_names_every_request_error_and_event() -> None:
    text = (DOCS / "driver.md").read_text()
    names = {
        *messages.TYPES,
        *messages.ERRORS,
        *messages.DRIVER_EVENTS,
        *messages.STANDARD_OPTIONS,
        *messages.CAPABILITIES,
    }
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_the_driver_of_the_page_keeps_every_rule_that_applies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(code("driver.md", "python"))
    monkeypatch.setattr(check, "RULES", [rule for rule in RULES if rule.number not in ("D1", "D4", "D6", "D7", "D17")])
    found = list(check_driver(f"{sys.executable} -I {driver}"))
    assert [(tried.rule.number, tried.told) for tried in found if tried.kept is False] == []
    assert [tried.rule.number for tried in found if tried.kept] == ["D2", "D3", "D11", "D15"]


def write_journal(folder: Path, command: list[str]) -> None:
    subprocess.run(command, env=os.environ | {"POOLPROOF_JOURNAL_DIR": str(folder)}, check=True, timeout=60)
    (entry,) = read_journals(folder)
    assert (entry.request_id, entry.command, entry.nonce, entry.ok, entry.worker_id) == (7, "echo", "1.0.3", True, 1)
    assert entry.end_ns is not None
    assert entry.start_ns <= entry.end_ns


def test_the_journal_in_python_can_be_read(tmp_path: Path) -> None:
    end = f"entry = begin({REQUEST!r})\nwrite_entry(entry, end_ns=time.monotonic_ns(), ok=True)\n"
    write_journal(tmp_path, [sys.executable, "-I", "-c", code("journal.md", "python") + end])


def test_the_journal_in_node_can_be_read(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    write_journal(tmp_path, [node, "-e", code("journal.md", "javascript") + f"begin({REQUEST!r})(true)\n"])
