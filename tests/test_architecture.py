"""The house: imports point down, pure files import nothing that acts, and no module imports itself by a detour."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PREFIX = "poolproof."
MAY_IMPORT = {room: {room, "bridge"} for room in ("bridge", "pool_v1", "pool_v2", "harness")}
MAY_IMPORT |= {room: {room, "bridge", "harness"} for room in ("scenarios", "reports")}
PORCH = {f"harness.{name}" for name in ("pools", "plugin", "cli", "__main__", "job", "catalogue", "session")}
PORCH |= {"harness.pytest_plugin.conformance", "harness.faults.owner", "harness.run.jobserver"}
PORCH |= {
    f"harness.cli.commands.{name}"
    for name in ("options", "results", "runs", "records", "machine", "shrinks", "checks", "migrate")
}
PORCH |= {"harness.cli.commands.benches", "harness.cli.commands.baselines"}
PORCH |= {
    f"harness.subjects.faces{name}" for name in ("", ".blocking", ".tasks", ".executor", ".migrating", ".starting")
}  # V2's own ways in
PORCH |= {
    f"harness.mutation.{name}"
    for name in ("bugs_v1", "bugs_v2", "bugs_v2_ends", "bugs_wire", "bugs_faces", "bugs_kinds", "task_drills")
}
PORCH |= {f"harness.mutation.{name}" for name in ("equivalents", "roster", "job", "check", "command")}
ACTING = {
    *("threading", "subprocess", "multiprocessing", "asyncio", "concurrent", "socket", "select", "signal", "psutil"),
    *("os", "io", "pathlib", "shutil", "tempfile", "fcntl", "logging", "time", "datetime", "random", "secrets", "sys"),
}
ALLOWED = {"bridge.wire.messages": "datetime", "bridge.config": "sys"}
ALLOWED |= {
    "harness.model.workload": "random",
    "harness.model.composition": "random",
    "harness.mutation.drills.probes": "random",
    "harness.mutation.drills.face_probes": "random",
}  # its type only
ALLOWED |= {"harness.model.load": "random", "harness.bench.works.works": "random"}  # seeded
ALLOWED["harness.fakes.depths.frames"] = "datetime"
PURE_PATHS = """
    bridge/{errors,interface,messages,framing,lifecycle,events,config,redaction,adapter,receiver,transport}
    harness/fakes/models/{service,answers}
    harness/fakes/depths/{depth,frames,script} harness/{programs}
    pool_v2/{coordinator,orders,circuit,roster,sessions}
    pool_v2/{ticket,behaviour} bridge/{receiver,transport,exchange} bridge/telemetry/{tally}
    harness/{errors,history,workload,fault,stats,verdict,checker,scenario,comparison,judge,metrics,overlap,equality}
    harness/{op,columns,tables,joining,lines,recovery,picture,cells,composition,intended,differential,replay}
    harness/shrink/{selection,reduction} harness/mutation/{matrix,mutant,markdown,probes,face_probes,journals}
    harness/bench/{load,histogram,claims,slopes,scalability,figures,metrics,budget,analysis,validity,schedules,works}
    harness/bench/{answers,block,show,trend,regression} reports/{view,charts,series,section,calls,lab,covered,site}
    migration/{plan,router,sessions,guardrails,comparing,checklist,page}
"""


def read_modules() -> dict[str, set[str]]:
    """Every module of every room, with what it imports, wherever in its text; imports for annotations count too."""
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
PURE = {
    f"{room.replace('/', '.')}.{name}"
    for room, names in re.findall(r"(\S+)/{(.*?)}", PURE_PATHS)
    for name in names.split(",")
}
PURE = {name for name in MODULES if name in PURE | {"bridge"} or name.startswith("harness.checkers")}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_down_and_only_the_porch_sees_every_room(room: str) -> None:
    for name, imports in MODULES.items():
        if name.split(".")[0] == room and name not in PORCH:
            rooms = {other.split(".")[0] for other in imports} & MAY_IMPORT.keys()
            assert rooms <= MAY_IMPORT[room], f"{name} imports {rooms - MAY_IMPORT[room]}"
            assert not imports & PORCH, f"{name} imports the porch: {imports & PORCH}"


def test_pure_files_import_nothing_that_acts_and_no_file_that_does() -> None:
    assert len(PURE) >= 30
    for name in PURE:
        roots = {other.split(".")[0] for other in MODULES[name]}
        assert roots & ACTING <= {ALLOWED.get(name)}, f"{name} acts: {roots & ACTING}"
        inner = MODULES[name] & MODULES.keys()
        assert inner <= PURE, f"{name} imports {inner - PURE}, which is not pure"
    assert set(re.findall(r"\brandom\.(\w+)", (ROOT / "harness/model/workload.py").read_text())) == {"Random"}, "a seed"


def test_no_module_imports_itself_by_a_detour() -> None:
    graphlib.TopologicalSorter({name: imports & MODULES.keys() for name, imports in MODULES.items()}).prepare()


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
