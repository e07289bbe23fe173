"""Finds the directory of this user's pools by one rule, and refuses a directory that another user controls.

The rule depends on the user and one variable alone, so pools, `poolproof ps` and `poolproof reap` agree in a login
shell, under cron, under sudo and in a service: the directory is that of POOLPROOF_RUNTIME_DIR, otherwise
/tmp/poolproof-UID with the effective user id. XDG_RUNTIME_DIR and TMPDIR differ between these, so they do not count.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from poolproof.bridge.errors import ConfigError

BASE_VARIABLE = "POOLPROOF_RUNTIME_DIR"
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def base_dir() -> Path:
    """Return the base directory, which need not exist. Raises ConfigError if the variable has a relative path."""
    chosen = os.environ.get(BASE_VARIABLE)
    if not chosen:
        return Path(f"/tmp/poolproof-{os.geteuid()}")
    if not os.path.isabs(chosen):
        raise ConfigError(f"{BASE_VARIABLE} {chosen!r}: must be an absolute path")
    return Path(chosen)


def pools_dir() -> Path:
    """Return the directory of this user's pools; create it if needed.

    Raises ConfigError if it cannot be created, or if another user could replace it or write to it.
    """
    base = base_dir()
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(base)
        above = base.parent.stat()
        if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
            raise ConfigError(
                f"{base} is not safe: every user may write to {base.parent}, whose mode {above.st_mode & 0o7777:o} "
                "lacks the sticky bit"
            )
        pools = base / "pools"
        pools.mkdir(mode=0o700, exist_ok=True)
        _require_private(pools)
    except OSError as error:
        raise ConfigError(f"cannot use {base} for run directories: {error.strerror}") from error
    return pools


def _require_private(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no directory"
        raise ConfigError(f"{path} must be a directory of this user, but is {kind}")
    if found.st_uid != os.geteuid() or found.st_mode & WRITABLE_BY_OTHERS:
        raise ConfigError(
            f"{path} must belong to this user, and nobody else may have access: its owner is "
            f"{found.st_uid}, mode {found.st_mode & 0o777:o}"
        )
