"""What the documents show is what works: their code runs, their commands exist, their links lead somewhere."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

import poolproof
from poolproof.bridge import Capability, PoolConfig
from poolproof.harness.checkers import ALL as CHECKERS
from poolproof.harness.cli.app import main, make_app
from poolproof.harness.cli.commands.migration.validate import MIGRATE_COMMANDS
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.compare.declared import declare, read_ledger
from poolproof.harness.compare.glossary import FAILURES, GUARANTEES, MEANINGS, TERMS
from poolproof.harness.model.evidence import Evidence, evidence_of
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.readiness.documents import examine_documents
from poolproof.harness.run.runner import Request, run
from poolproof.harness.subjects.pools import as_subject
from poolproof.harness.traffic.comparing import read_comparing
from poolproof.migration import Plan
from poolproof.pool_v1.pool import UNSUPPORTED
from poolproof.pool_v2 import PoolV2
from poolproof.scenarios import SUITES

ROOT = Path(__file__).parent.parent
FIRST_PAGES = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")]
GENERATED = ROOT / "docs" / "reference" / "cli.md"  # by `make docs`
PAGES = [*FIRST_PAGES, *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page != GENERATED)]


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_worker_of_the_wire_page_is_a_worker(tmp_path: Path) -> None:
    [program] = _blocks(ROOT / "docs" / "reference" / "wire.md", "python")
    (tmp_path / "that.py").write_text(program)
    command = shlex.join([sys.executable, str(tmp_path / "that.py"), "--worker-id", "{worker_id}"])
    with PoolV2(PoolConfig(workers=2, worker_command=command)) as pool:
        values: tuple[Any, ...] = (None, 0, [], {"result": 1})
        for value in values:
            assert pool.execute("echo", {"value": value}) == value
        with pytest.raises(Exception, match="unknown command 'nothing'"):
            pool.execute("nothing")


def test_the_scenario_of_the_pytest_page_passes_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [scenario] = _blocks(ROOT / "docs" / "how-to" / "pytest.md", "python")
    (tmp_path / "scenario_slow_model.py").write_text(scenario)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path / "runtime"))
    assert main(["compare", "scenario_slow_model.py", "--quiet"]) == 0


STOPPING = ROOT / "docs" / "how-to" / "stopping.md"


@pytest.mark.parametrize("block", [0, 1], ids=["threads", "asyncio"])
def test_the_programs_of_the_stopping_page_end_well_at_a_signal(
    tmp_path: Path, block: int, patient_environment: dict[str, str]
) -> None:
    (tmp_path / "program.py").write_text(_blocks(STOPPING, "python")[block])
    environment = os.environ | patient_environment
    with subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            program.terminate()
            assert program.communicate(timeout=60)[0] == "all calls have ended\n"
            assert program.returncode == 0
        finally:
            program.kill()


def test_the_gunicorn_hooks_of_the_stopping_page_open_and_drain_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = types.ModuleType("shop")
    monkeypatch.setitem(sys.modules, "shop", shop)
    hooks: dict[str, Any] = {}
    exec(_blocks(STOPPING, "python")[2], hooks)
    hooks["post_worker_init"](None)
    assert shop.pool.execute("echo", {"value": 1}) == 1
    hooks["worker_exit"](None, None)
    assert shop.pool.status().state == "closed"


def test_the_times_of_the_stopping_page_fit_together() -> None:
    text = STOPPING.read_text()
    drain_s = max(int(seconds) for seconds in re.findall(r"drain\(timeout_s=(\d+)\)", text))
    [pod_s] = map(int, re.findall(r"terminationGracePeriodSeconds: (\d+)", text))
    [sleep_s] = map(int, re.findall(r'"sleep", "(\d+)"', text))
    assert pod_s > drain_s + sleep_s
    unit = configparser.ConfigParser()
    unit.read_string(_blocks(STOPPING, "ini")[0])
    assert int(unit["Service"]["TimeoutStopSec"]) > drain_s
    assert unit["Service"]["KillMode"] == "mixed"


def test_every_option_of_a_pool_is_on_its_page() -> None:
    text = (ROOT / "docs" / "reference" / "options.md").read_text()
    rows = {name: (default, v1) for name, default, v1 in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) ?\|", text, re.M)}
    assert sorted(rows) == sorted(field.name for field in msgspec.structs.fields(PoolConfig))
    assert {name for name, (_, v1) in rows.items() if not v1} == set(UNSUPPORTED)
    defaults = PoolConfig()
    for name, (told, _) in rows.items():
        value = getattr(defaults, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            number, _, unit = told.partition(" ")
            assert float(number) * {"": 1, "KiB": 2**10, "MiB": 2**20}[unit] == value, name


COMMANDS: Any = typer.main.get_command(make_app())


def test_every_command_is_among_those_in_everyday_use() -> None:
    page = ROOT / "docs" / "reference" / "everyday.md"
    assert set(re.findall(r"^\$ poolproof (\w+)", page.read_text(), flags=re.MULTILINE)) == set(COMMANDS.commands)


def _lines(page: Path) -> list[str]:
    blocks = _blocks(page, "console") + _blocks(page, "yaml") + _blocks(page, "sh")
    return [found for block in blocks for found in re.findall(r"(?:\$|run:|-) (poolproof .*)", block)]


@pytest.mark.parametrize("page", [page for page in PAGES if _lines(page)], ids=lambda page: page.name)
def test_every_command_that_a_page_shows_takes_the_options_that_it_shows(page: Path) -> None:
    for line in _lines(page):
        words = shlex.split(line, comments=True)[1:]
        command = COMMANDS
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert not getattr(command, "commands", None) or words[0].startswith("-"), f"{page.name}: {line}"
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        shown = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        if not command.context_settings.get("ignore_unknown_options"):
            assert shown - known - {"--help"} == set(), f"{page.name}: {line}"


NOT_ALONE = r"(<!-- not run(?: alone)?: .+ -->\n\n)?"
PROGRAMS = [
    (page, number, block)
    for page in PAGES
    for number, (reason, block) in enumerate(
        re.findall(rf"^{NOT_ALONE}```python\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    )
    if not reason
]


@pytest.mark.parametrize(
    ("page", "number", "block"), PROGRAMS, ids=[f"{page.stem}-{number}" for page, number, _ in PROGRAMS]
)
def test_each_program_of_a_page_runs_as_it_stands(
    page: Path, number: int, block: str, tmp_path: Path, patient_environment: dict[str, str]
) -> None:
    (tmp_path / "program.py").write_text(block)
    environment = os.environ | patient_environment | {"POOLPROOF_RUNTIME_DIR": str(tmp_path / "runtime")}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    shown = re.findall(r"^::: poolproof\.(\w+)$", (ROOT / "docs/reference/api.md").read_text(), flags=re.MULTILINE)
    assert sorted(shown) == sorted(poolproof.__all__)


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if f" {page}\n" not in text} == set()


def test_every_message_of_the_troubleshooting_page_is_one_of_poolproof() -> None:
    messages = re.findall(r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(), flags=re.MULTILINE)
    rooms = ("bridge", "harness", "poolproof", "tools", "reports")
    paths = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in (".py", "")]
    sources = "\n".join(path.read_text() for path in paths if path.is_file())
    assert len(messages) > 10
    assert [message for message in messages if message not in sources] == []


TUTORIAL = ROOT / "docs" / "tutorials" / "bring-your-own-pool.md"


def _tutorial_files() -> list[tuple[str, str]]:
    """The named files of the tutorial, in order: (name, text)."""
    blocks = _blocks(TUTORIAL, "python")
    return [(found[1], block) for block in blocks if (found := re.match(r"# (\w+\.py)\n", block))]


@pytest.mark.parametrize(("place", "kind"), list(enumerate(["executor", "async", "callable", "http"])))
def test_each_pool_of_the_tutorial_passes_its_calls(
    place: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _tutorial_files()
    begins = [number for number, (name, _) in enumerate(files) if name == "pools.py"]
    assert len(begins) == 4
    mine = [*files[begins[place] : begins[place] + 2], *(file for file in files if file[0] in ("work.py", "calls.py"))]
    pools = dict(mine)["pools.py"]
    assert len([line for line in pools.splitlines()[1:] if line]) <= 10
    for name, text in mine:
        (tmp_path / name).write_text(text.replace("calls=200", "calls=20"))
        sys.modules.pop(name.removesuffix(".py"), None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    made: dict[str, Any] = {}
    exec(pools, made)
    request = Request(size=Size(workers=2, clients=2), observed=False)
    for name in ("calls_answers", "calls_sessions"):
        [scenario] = find_scenarios([f"calls.py::{name}"])
        result = run(scenario, as_subject(made["New"], f"pools:{kind}"), request, tmp_path / "out")
        wrong = [each.claim for each in result.findings if each.verdict is not Verdict.PASS]
        assert (wrong, result.trouble, result.skipped) == ([], "", "")
    for name, _ in mine:
        sys.modules.pop(name.removesuffix(".py"), None)


def test_the_ledger_of_the_tutorial_is_one(tmp_path: Path) -> None:
    [ledger], files = _blocks(TUTORIAL, "toml"), dict(_tutorial_files())
    (tmp_path / "ledger.toml").write_text(ledger)
    (tmp_path / "calls.py").write_text(files["calls.py"])
    found = find_scenarios([str(tmp_path / "calls.py")])
    declared = declare(found, read_ledger(tmp_path / "ledger.toml"), "pools:Old", "pools:New")
    assert {entry.pool for each in declared for entry in each.intended_differences} == {"pools:Old", "baseline"}


def test_the_comparers_of_the_traffic_page_are_read_from_a_file(tmp_path: Path) -> None:
    [file] = _blocks(ROOT / "docs" / "how-to" / "traffic.md", "toml")
    (tmp_path / "comparers.toml").write_text(file)
    assert len(read_comparing(tmp_path / "comparers.toml").comparers) == file.count("$")


def test_every_command_and_capability_is_on_its_page() -> None:
    reference = ROOT / "docs" / "reference"
    told = set(re.findall(r"`(\w+)`", (reference / "commands.md").read_text()))
    used = {command for name in SUITES["default"].values() for command in name.commands}
    assert used - told == set()
    capabilities = (reference / "capabilities.md").read_text()
    assert {word for word in Capability if f"| `{word}` |" not in capabilities} == set()
    assert {kind for kind in Evidence if f"| `{kind}` |" not in capabilities} == set()
    for checker in CHECKERS:
        needed = evidence_of(checker)
        name = getattr(checker, "name", "")
        assert not needed or not isinstance(name, str) or f"`{name}`" in capabilities, name


def test_the_migration_guide_names_every_command_and_option() -> None:
    found = examine_documents(ROOT / "docs", MIGRATE_COMMANDS)
    assert found is not None
    assert found.problems == ()
    [table] = _blocks(ROOT / "docs" / "how-to" / "migration-guide.md", "toml")
    Plan.from_options(tomllib.loads(table)["migration"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    for named in re.findall(r"`((?:\w+/)+[\w.]*)`", page.read_text()):
        if (ROOT / named.split("/")[0]).is_dir() and "NAME" not in named and not named.startswith("out/"):
            assert (ROOT / named).exists(), f"{page.name} names {named}"


def test_the_glossary_has_the_terms_and_numbers_of_reports_in_the_same_words() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    assert re.findall(r"^\| ([GF]\d+) \| (.*?) \|$", text, re.M) == [*GUARANTEES.items(), *FAILURES.items()]
    for term, meaning in TERMS.items():
        assert f"| **{term}** | {meaning}" in text


def test_every_number_of_a_scenario_or_checker_has_a_meaning() -> None:
    used = [number for suite in SUITES.values() for each in suite.values() for number in each.failures]
    used += [number for suite in SUITES.values() for each in suite.values() for number in each.guarantees]
    for checker in CHECKERS:
        [field] = [field for field in msgspec.structs.fields(checker) if field.name == "guarantees"]
        used += field.default
    assert set(FAILURES) <= set(used) <= set(MEANINGS)


def test_no_document_names_a_machine() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "Makefile"]:
        assert not re.search(r"/(tmp|root|home|work)/\w", page.read_text()), page
