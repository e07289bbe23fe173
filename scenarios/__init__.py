"""The catalogue: every scenario that poolproof ships, one small file each, in suites.

The folder itself is the suite `default`; each of its folders is one that needs more, by its own name.
"""

from __future__ import annotations

if __name__ == "scenarios":
    raise ImportError("there is no package scenarios: import poolproof.scenarios")

import importlib
import pkgutil

from poolproof.harness.model.scenario import Scenario


def _load(suite: str = "") -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}
    package = f"{__name__}.{suite}" if suite else __name__
    for module in pkgutil.iter_modules([f"{folder}/{suite}" for folder in __path__]):
        if module.ispkg:
            continue
        scenario = importlib.import_module(f"{package}.{module.name}").SCENARIO
        if scenario.name != module.name:
            raise ValueError(f"{package.replace('.', '/')}/{module.name}.py defines the scenario {scenario.name!r}")
        found[scenario.name] = scenario
    return found


CATALOGUE: dict[str, Scenario] = _load()
"""The scenarios of the suite `default` by name, in alphabetical order."""

DEFAULT_SUITE = "default"
SUITES: dict[str, dict[str, Scenario]] = {
    DEFAULT_SUITE: CATALOGUE,
    **{module.name: _load(module.name) for module in pkgutil.iter_modules(__path__) if module.ispkg},
}
"""Every suite by its name."""

__all__ = ["CATALOGUE", "DEFAULT_SUITE", "SUITES"]
