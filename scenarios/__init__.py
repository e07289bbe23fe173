"""The catalogue: every scenario that poolproof ships, one small file each."""

from __future__ import annotations

import importlib
import pkgutil

from harness.scenario import Scenario


def _load() -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}
    for module in pkgutil.iter_modules(__path__):
        scenario = importlib.import_module(f"scenarios.{module.name}").SCENARIO
        if scenario.name != module.name:
            raise ValueError(f"scenarios/{module.name}.py defines the scenario {scenario.name!r}")
        found[scenario.name] = scenario
    return found


CATALOGUE: dict[str, Scenario] = _load()
"""All scenarios by name, in alphabetical order."""

__all__ = ["CATALOGUE"]
