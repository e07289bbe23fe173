"""Finds scenarios: those of the catalogue by name, and a user's own in a file. Entry point.

A scenario file is a Python file with at least one module-level `Scenario`, or `Calls` for the scenarios over the roles
of a user's own calls; FILE::NAME is one of its scenarios.
`explore_17` is the generated scenario of number 17. A file whose name ends in .json is a plan that `poolproof shrink`
has stored.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import msgspec

from poolproof import scenarios
from poolproof.bridge.suggestion import did_you_mean
from poolproof.harness.explore.generated import generated_scenario
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.intended import KnownFailure
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.roles.calls import Calls
from poolproof.harness.roles.scenarios import scenarios_of
from poolproof.harness.run.plan import read_plan
from poolproof.harness.subjects.imports import importing_from
from poolproof.harness.subjects.named import Named
from poolproof.scenarios import DEFAULT_SUITE


def all_scenarios(suite: str = DEFAULT_SUITE) -> dict[str, Scenario]:
    """Return a suite of the catalogue, by name. Raises UsageError if there is no suite of that name."""
    if suite not in scenarios.SUITES:
        raise UsageError(f"there is no suite {suite!r}; there are {', '.join(scenarios.SUITES)}")
    return dict(scenarios.SUITES[suite])


def is_of_catalogue(scenario: Scenario) -> bool:
    """Return whether this same object is in a suite: then its name alone is enough to find it."""
    generated = not scenario.file and generated_scenario(scenario.name) is not None
    return generated or any(suite.get(scenario.name) is scenario for suite in scenarios.SUITES.values())


def find_scenarios(
    wanted: Sequence[str], *, profile: str = "full", suite: str = DEFAULT_SUITE, named: Named | None = None
) -> list[Scenario]:
    """Find scenarios by name (in any suite) or in files; if `wanted` is empty, all of the suite and the profile.

    A stored plan may say which Python file has its scenario; with `named`, only what the user has named is imported.
    Raises UsageError, which names what was not found and the nearest name, or what the suite needs.
    """
    if not wanted:
        found = [scenario for scenario in all_scenarios(suite).values() if _is_of(scenario, profile)]
        needed = sorted({package for scenario in found for package in scenario.packages})
        missing = [package for package in needed if importlib.util.find_spec(package) is None]
        if suite != DEFAULT_SUITE and missing:
            raise UsageError(
                f"the suite {suite!r} needs the package {missing[0]}; install it by pip install 'poolproof[{suite}]'"
            )
        return found
    catalogue = {name: scenario for every in scenarios.SUITES.values() for name, scenario in every.items()}
    by_name: dict[str, Scenario] = {}
    for word in wanted:
        for scenario in _find(word, catalogue, named):
            by_name[scenario.name] = scenario
    return list(by_name.values())


def _is_of(scenario: Scenario, profile: str) -> bool:
    return profile == "full" or (scenario.smoke if profile == "smoke" else scenario.quick)


def find_stored(word: str, named: Named) -> list[Scenario]:
    """Find the scenarios that stored results name; only a file that the user has named is imported."""
    named.require_scenario(word)
    return find_scenarios([word], named=named)


def _find(word: str, catalogue: dict[str, Scenario], named: Named | None) -> list[Scenario]:
    if word in catalogue:
        return [catalogue[word]]
    generated = generated_scenario(word)
    if generated is not None:
        return [generated]
    file, _, name = word.partition("::")
    path = Path(file)
    if path.suffix == ".py":
        found = [
            msgspec.structs.replace(scenario, file=str(path.resolve()))
            for scenario in scenarios_in(load_file(path), file)
        ]
        return _only(found, name, file) if name else found
    if path.suffix == ".json":
        stored = read_plan(path)
        if named is not None:
            named.require_scenario(stored.origin)
        (origin,) = _find(stored.origin, catalogue, named)
        return _only([stored.as_scenario(origin, str(path.resolve()))], name or origin.name, file)
    hint = did_you_mean(word, catalogue, cutoff=0.5) or "; see `poolproof list scenarios`"
    raise UsageError(f"there is no scenario {word!r}{hint}")


def _only(found: Sequence[Scenario], name: str, file: str) -> list[Scenario]:
    kept = [scenario for scenario in found if scenario.name == name]
    if not kept:
        hint = did_you_mean(name, [scenario.name for scenario in found])
        raise UsageError(f"{file} defines no scenario {name!r}{hint}")
    return kept


def scenarios_in(module: ModuleType, where: str) -> list[Scenario]:
    """Return the scenarios of a module, in the order of their definition; a Calls stands for those of its roles.

    Raises UsageError if it has none.
    """
    found: list[Scenario] = []
    for value in vars(module).values():
        if isinstance(value, Scenario):
            found.append(value)
        elif isinstance(value, Calls):
            found += scenarios_of(value)
    if not found:
        raise UsageError(f"{where} defines no Scenario and no Calls")
    return found


def known_failures(wanted: Sequence[str]) -> list[KnownFailure]:
    """Return the module-level KnownFailure objects, or lists of them, of the scenario files among `wanted`."""
    found: list[KnownFailure] = []
    for word in wanted:
        path = Path(word.partition("::")[0])
        for value in vars(load_file(path)).values() if path.suffix == ".py" else ():
            several = value if isinstance(value, list | tuple) else [value]
            found += [each for each in several if isinstance(each, KnownFailure)]
    return found


def load_file(path: Path) -> ModuleType:
    """Import a scenario file, which may import modules beside it or in the current folder.

    Raises UsageError if the file does not exist or raises an error.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    name = f"poolproof_scenario_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with importing_from(path.resolve().parent, os.getcwd()):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module
