"""The catalogue: every scenario that poolproof ships, one small module each.

The suite `default` has a folder for each of GROUPS; every other folder is a suite of that name with extra requirements.
"""

from __future__ import annotations

if __name__ == "scenarios":
    raise ImportError("there is no package scenarios: import poolproof.scenarios")

import importlib
import pkgutil

from poolproof.harness.model.scenario import Scenario

GROUPS = ("answers", "owners", "sessions", "waiting", "workers")
"""The folders of the suite `default`, by what their scenarios stress."""


def _load(*folders: str) -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}
    for folder in folders:
        for module in pkgutil.iter_modules([f"{path}/{folder}" for path in __path__]):
            scenario = importlib.import_module(f"{__name__}.{folder}.{module.name}").SCENARIO
            if scenario.name != module.name:
                raise ValueError(f"scenarios/{folder}/{module.name}.py defines the scenario {scenario.name!r}")
            found[scenario.name] = scenario
    return dict(sorted(found.items()))


CATALOGUE: dict[str, Scenario] = _load(*GROUPS)
"""The scenarios of the suite `default` by name, in alphabetical order."""

DEFAULT_SUITE = "default"
SUITES: dict[str, dict[str, Scenario]] = {
    DEFAULT_SUITE: CATALOGUE,
    **{each.name: _load(each.name) for each in pkgutil.iter_modules(__path__) if each.name not in GROUPS},
}
"""Every suite by its name."""

__all__ = ["CATALOGUE", "DEFAULT_SUITE", "SUITES"]
