"""The architecture: imports point down, pure modules import nothing that acts, and there is no import circle."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PREFIX = "poolproof."
MAY_IMPORT = {room: {room, "bridge"} for room in ("bridge", "pool_v1", "pool_v2", "harness")}
MAY_IMPORT |= {room: {room, "bridge", "harness"} for room in ("scenarios", "reports")}
MAY_IMPORT["migration"] = {"migration", "bridge", "harness"}
ENTRY_POINT_PATHS = """
    harness/readiness/{documents,preparation,validate}
    harness/cli/{app}
    harness/cli/commands/{compare,init,options,preparation,requests,results,run,search,stored,timing,traffic}
    harness/cli/commands/machine/{doctor,processes,top}
    harness/cli/commands/migration/{migrate,validate}
    harness/cli/commands/search/{driver,exploration,explore,selfcheck,shrink,simulate}
    harness/cli/commands/stored/{analyze,clean,diff,listing,report}
    harness/cli/commands/timing/{baseline,bench,check,history,keeping,options,plans,sweep}
    harness/compare/{catalogue}
    harness/faults/{owner}
    harness/mutation/{check,command,job,registry}
    harness/mutation/generated/{command,hunt,killers,smoke,survey,target,tree}
    harness/mutation/bugs/{equivalents,faces,kinds,processes,options,v1,v2,v2_ends,v2_starts,wire}
    harness/mutation/lifecycle_tests/{all,tasks}
    harness/mutation/loosened/{check,command,kills}
    harness/pytest_plugin/{bench_fixture,conformance,fixtures,plugin,session,state}
    harness/run/{job,jobserver}
    harness/simulation/{clients,command,io,platform,power,run,shrinking,world}
    harness/subjects/{faces,nodes,pools,shipped}
    harness/subjects/faces/{blocking,executor,migrating,migrating_tasks,starting,tasks}
"""
ACTING = {
    *("threading", "subprocess", "multiprocessing", "asyncio", "concurrent", "socket", "select", "signal", "psutil"),
    *("os", "io", "pathlib", "shutil", "tempfile", "fcntl", "logging", "time", "datetime", "random", "secrets", "sys"),
}
ALLOWED = {
    "bridge.config": "sys",
    "bridge.dspy.answers": "datetime",
    "bridge.wire.messages": "datetime",
    "harness.bench.workloads.workloads": "random",
    "harness.fakes.backends.frames": "datetime",
    "harness.explore.domain": "random",
    "harness.explore.features": "random",
    "harness.explore.workload": "random",
    "harness.model.composition": "random",
    "harness.model.timing.load": "random",
    "harness.model.workload": "random",
    "harness.roles.scenarios": "random",
    "harness.simulation.plan": "random",
    "harness.mutation.generated.draw": "random",
    "harness.mutation.lifecycle_tests.face_probes": "random",
    "harness.mutation.lifecycle_tests.option_probes": "random",
    "harness.mutation.lifecycle_tests.probes": "random",
    "migration.spread": "random",
}
"""What a pure module may import all the same: a type, or what is seeded."""
PURE_PATHS = """
    bridge/{config,errors,events,interface,lifecycle,placement,redaction,safe_text,session_calls,suggestion}
    bridge/remote/{protocol}
    bridge/dspy/{adapter,answers}
    bridge/telemetry/{aggregator}
    bridge/wire/{buffers,exchange,framing,messages,receiver,transport}
    harness/bench/{block,schedules,show}
    harness/bench/statistics/{analysis,claims,curves,figures,histogram,metrics,regression,scalability,trend,validity}
    harness/bench/workloads/{answers,workloads}
    harness/compare/stored/{diff}
    harness/compare/{cells,comparison,differential,glossary,judge,not_asked,power,undecided}
    harness/explore/{domain,features,workload}
    harness/fakes/backends/{frames,script}
    harness/fakes/models/{answers,service}
    harness/history/{chart_data,codec,columns,equality,gathering,growth,history,joining,metrics,overlap,recovery,replay,stats,tables}
    harness/model/{binary,backend,checker,composition,docstring,errors,evidence,fault,intended,op,scenario,verdict,workload}
    harness/model/comparing/{comparers,noise}
    harness/model/timing/{budget,load}
    harness/mutation/{journals,markdown,matrix,mutant}
    harness/mutation/generated/{draw,equivalents,hunted,page,verdicts}
    harness/mutation/loosened/{findings,loosenings,pairs,reasons}
    harness/mutation/operators/{arguments,blocks,comparisons,conditions,constants,places,source,statements}
    harness/mutation/lifecycle_tests/{face_probes,option_probes,probes}
    harness/oracle/{capacity,ends,faces,growth,limits,options,outcomes,status,turns,waiters}
    harness/readiness/{checklist,renderer}
    harness/roles/{calls,scenarios}
    harness/shrink/{reduction,selection}
    harness/simulation/{plan}
    harness/simulation/properties/{calls,closing,observed,queue,sessions,starts,workers}
    harness/subjects/{programs}
    harness/traffic/{outcome}
    harness/subjects/driver/{messages,status}
    migration/{plan,router,sessions,spread}
    migration/limits/{guardrails,reference,significance}
    migration/followers/{record}
    migration/shadowing/{comparing}
    pool_v2/core/{actions,behaviour,circuit,coordinator,grants,replacement,sessions,ticket,worker_table}
    reports/{site}
    reports/charts/{drawing,overview,series,specifications,units}
    reports/evidence/{call,marking}
    reports/formats/{terms}
    reports/sections/{calls,covered,lab,section}
    reports/view/{builder,glossary,model,scenarios,summary}
"""

MOST_LINES, MOST_MODULES, MOST_IMPORTS = 380, 14, 15
"""The limits of a file, of a folder (`__init__` not counted), and of the project's modules that one module imports."""
TOO_LONG: set[str] = set()
TOO_MANY_MODULES: set[str] = set()
TOO_MANY_IMPORTS: set[str] = set()


def names_of(paths: str) -> set[str]:
    """The modules that such a list names: folder/{module,module}."""
    found = re.findall(r"(\S+)/{(.*?)}", paths)
    return {f"{room.replace('/', '.')}.{name}" for room, names in found for name in names.split(",")}


ENTRY_POINTS = names_of(ENTRY_POINT_PATHS)


def read_modules() -> dict[str, set[str]]:
    """Every module of every package, with what it imports, wherever in its text; imports for annotations count too."""
    paths = [path.relative_to(ROOT) for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    trees = {name: ast.parse((ROOT / path).read_text()) for name, path in zip(names, paths, strict=True)}
    found: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name.removeprefix(PREFIX) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module, f"{name} imports relatively"  # noqa: PT018
                module = node.module.removeprefix(PREFIX)
                inner = {f"{module}.{alias.name}".removeprefix(PREFIX) for alias in node.names}
                found[name] |= (inner & trees.keys()) or {module}
    return found


MODULES = read_modules()
PURE = {name for name in MODULES if name in names_of(PURE_PATHS) | {"bridge"} or name.startswith("harness.checkers")}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_down_and_only_entry_points_see_every_package(room: str) -> None:
    for name, imports in MODULES.items():
        if name.split(".")[0] == room and name not in ENTRY_POINTS:
            rooms = {other.split(".")[0] for other in imports} & MAY_IMPORT.keys()
            assert rooms <= MAY_IMPORT[room], f"{name} imports {rooms - MAY_IMPORT[room]}"
            assert not imports & ENTRY_POINTS, f"{name} imports an entry point: {imports & ENTRY_POINTS}"


def test_a_migration_needs_no_test_tool() -> None:
    for name, imports in MODULES.items():
        if name.split(".")[0] == "migration":
            tools = {other for other in imports if other.split(".")[0] == "harness"}
            assert tools <= PURE, f"{name} imports {tools - PURE}"


def test_pure_files_import_nothing_that_acts_and_no_file_that_does() -> None:
    assert len(PURE) >= 30
    for name in PURE:
        roots = {other.split(".")[0] for other in MODULES[name]}
        assert roots & ACTING <= {ALLOWED.get(name)}, f"{name} acts: {roots & ACTING}"
        inner = MODULES[name] & MODULES.keys()
        assert inner <= PURE, f"{name} imports {inner - PURE}, which is not pure"
    assert set(re.findall(r"\brandom\.(\w+)", (ROOT / "harness/model/workload.py").read_text())) == {"Random"}, "a seed"


def test_every_module_that_a_rule_names_exists() -> None:
    assert {*ENTRY_POINTS, *names_of(PURE_PATHS), *ALLOWED} <= MODULES.keys()


def test_no_module_imports_itself_by_a_detour() -> None:
    graphlib.TopologicalSorter({name: imports & MODULES.keys() for name, imports in MODULES.items()}).prepare()


def test_no_file_is_too_long() -> None:
    paths = [path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py")]
    long = {str(path.relative_to(ROOT)) for path in paths if len(path.read_text().splitlines()) > MOST_LINES}
    assert long == TOO_LONG


def test_no_folder_has_too_many_modules() -> None:
    paths = [path.relative_to(ROOT) for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py")]
    modules = Counter(str(path.parent) for path in paths if path.name != "__init__.py")
    assert {folder for folder, number in modules.items() if number > MOST_MODULES} == TOO_MANY_MODULES


def test_no_module_imports_too_many_others() -> None:
    numbers = {name: len(imports & MODULES.keys()) for name, imports in MODULES.items()}
    assert {name for name, number in numbers.items() if number > MOST_IMPORTS} == TOO_MANY_IMPORTS


def test_an_application_gets_the_pool_and_no_tool() -> None:
    tools = ["pytest", "typer", "rich", "jinja2", "numpy", "psutil", "altair"]
    tools += [f"poolproof.{room}" for room in ("harness", "pool_v1", "reports", "scenarios")]
    code = f"import sys, poolproof; poolproof.PoolV2, poolproof.PoolConfig; print(*set({tools}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_every_package_is_shipped() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = (path.parent for room in MAY_IMPORT for path in (ROOT / room).rglob("__init__.py"))
    shipped = {PREFIX + ".".join(path.relative_to(ROOT).parts) for path in packages} | {"poolproof"}
    assert sorted(listed) == sorted(shipped)
