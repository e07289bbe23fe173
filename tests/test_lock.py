"""The lock: one exact version of everything that pyproject.toml asks for, on every Python that it supports."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = [line for line in (ROOT / "lock.txt").read_text().splitlines() if not line.startswith("#")]
PYTHONS = [text[-4:] for text in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", text)]


def _wanted() -> Iterator[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    lists = [PROJECT["build-system"]["requires"], PROJECT["project"]["dependencies"], *extras]
    return (each for lines in lists for each in map(Requirement, lines) if each.name != "poolproof")


@pytest.mark.parametrize("python", PYTHONS)
def test_everything_that_is_asked_for_has_one_locked_version_that_is_allowed(python: str) -> None:
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    locked = [each for each in map(Requirement, LOCK) if each.marker is None or each.marker.evaluate(here)]
    versions = {canonicalize_name(each.name): str(each.specifier) for each in locked}

    assert len(versions) == len(locked), "one version each"
    assert all(re.fullmatch(r"==[^*,]+", version) for version in versions.values())
    wanted = list(_wanted())
    assert len(wanted) > 20
    assert [str(each) for each in wanted if versions[canonicalize_name(each.name)][2:] not in each.specifier] == []


def test_the_lock_names_no_host_and_no_path() -> None:
    assert [line for line in LOCK if re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .*)?", line)] == LOCK
