"""Reads a migration's plan. Sources by precedence: code, the environment, a TOML file.

Independent of pools. Environment: POOLPROOF_POOL_VERSION (v1, v2, shadow or canary:25) sets `begin`,
POOLPROOF_MIGRATION_STATE sets `state_file`, POOLPROOF_MIGRATION_NAME sets `name`. Only one of `state_file` and `name`
counts, from the first source that has either; without both, the name is "default". TOML: the table `migration` of
poolproof.toml, or `tool.poolproof.migration` of pyproject.toml; its sub-table `guardrails` sets the limits. An unknown
name is an error that suggests the nearest valid name.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poolproof.bridge import ConfigError
from poolproof.migration.plan import DEFAULT_NAME, Guardrails, Plan, Position, field_names, require_known

VERSION_VARIABLE = "POOLPROOF_POOL_VERSION"
STATE_VARIABLE = "POOLPROOF_MIGRATION_STATE"
NAME_VARIABLE = "POOLPROOF_MIGRATION_NAME"
PLACES = ("state_file", "name")
"""The options that say where the state of a migration is; one of them at a time."""
PREFIXES = ("POOLPROOF_POOL_", "POOLPROOF_MIGRATION_")
OWN_FILE = "poolproof.toml"
PROJECT_FILE = "pyproject.toml"


def load_plan(
    *,
    toml: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    **code: Any,  # noqa: ANN401 - the options of Plan
) -> Plan:
    """Load the plan. Keywords are options of Plan; `guardrails` may be a mapping or a Guardrails.

    `toml` is the file to read (default: poolproof.toml or else pyproject.toml in the current folder, if it exists).
    Raises ConfigError for an unknown or invalid option and names its source.
    """
    require_known(code, field_names(Plan), "option")
    code = {name: value for name, value in code.items() if name not in PLACES or value}
    environment = _from_environment(os.environ if environ is None else environ)
    options = _overlay(_from_toml(toml), environment, {name: code[name] for name in PLACES if name in code})
    for name, value in code.items():
        if name == "guardrails" and isinstance(value, Mapping) and isinstance(options.get(name), Mapping):
            value = {**options[name], **value}
        options[name] = value
    rails = options.get("guardrails")
    if isinstance(rails, Guardrails):
        options["guardrails"] = {name: getattr(rails, name) for name in field_names(Guardrails)}
    path = options.get("state_file")
    if isinstance(path, os.PathLike):
        options["state_file"] = os.fspath(path)
    if not any(options.get(name) for name in PLACES):
        options["name"] = DEFAULT_NAME
    return Plan.from_options(options)


def _overlay(*sources: dict[str, Any]) -> dict[str, Any]:
    # The options of all sources, the last one's first. A place hides the other kind of place of the sources before it.
    options: dict[str, Any] = {}
    for source in sources:
        if any(name in source for name in PLACES):
            options = {name: value for name, value in options.items() if name not in PLACES}
        options.update(source)
    return options


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    ours = [name for name in environ if name.startswith(PREFIXES)]
    require_known(ours, (VERSION_VARIABLE, STATE_VARIABLE, NAME_VARIABLE), "environment variable")
    found: dict[str, Any] = {}
    if version := environ.get(VERSION_VARIABLE):
        try:
            Position.parse(version)
        except ConfigError as error:
            raise ConfigError(f"{VERSION_VARIABLE}: {error}") from error
        found["begin"] = version
    if state := environ.get(STATE_VARIABLE):
        found["state_file"] = state
    if name := environ.get(NAME_VARIABLE):
        found["name"] = name
    if state and name:
        raise ConfigError(f"{STATE_VARIABLE} {state!r} and {NAME_VARIABLE} {name!r}: set one of the two")
    return found


def _from_toml(wanted: str | os.PathLike[str] | None) -> dict[str, Any]:
    paths = [Path(wanted)] if wanted is not None else [Path(OWN_FILE), Path(PROJECT_FILE)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        if wanted is not None:
            raise ConfigError(f"there is no file {paths[0]}")
        return {}
    try:
        found: Any = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if path.name == PROJECT_FILE:
        found = found.get("tool", {}).get("poolproof", {})
    try:
        require_known(found, ("migration",), "table")
        table = found.get("migration", {})
        if not isinstance(table, dict):
            raise ConfigError(f"migration {table!r}: a table is needed")
        Plan.from_options(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if isinstance(state := table.get("state_file"), str):
        table["state_file"] = str(path.parent / state)  # relative to the folder of the TOML file
    return dict(table)
