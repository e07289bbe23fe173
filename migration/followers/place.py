"""Finds the state file of a migration, by one rule for applications and for the command line.

1. A state file that is named: by `--state` or in code, by POOLPROOF_MIGRATION_STATE, or by `state_file` in TOML.
2. Otherwise the migration's name: by `--name` or in code, by POOLPROOF_MIGRATION_NAME, or by `name` in TOML; without
   one, "default". Its state file is NAME.json in the user's own folder, $XDG_STATE_HOME/poolproof/migrations, which is
   ~/.local/state/poolproof/migrations where XDG_STATE_HOME is not set.

So processes of one user find each other from any folder. Processes of several users need a state file that is named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from poolproof.bridge import ConfigError
from poolproof.migration.plan import Plan, require_name

SUFFIX = ".json"


def user_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of this user's named migrations, which may not exist yet. Raises ConfigError without a home."""
    environ = os.environ if environ is None else environ
    base = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "poolproof" / "migrations"
    try:
        return Path.home() / ".local" / "state" / "poolproof" / "migrations"
    except RuntimeError as error:
        raise ConfigError(f"the state of a migration: this user has no home folder ({error}); name a file") from error


def state_path(plan: Plan, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the state file of the plan; None if the migration is private to its pool."""
    if plan.state_file is not None:
        return Path(plan.state_file)
    if not plan.name:
        return None
    require_name(plan.name)
    return user_folder(environ) / f"{plan.name}{SUFFIX}"
