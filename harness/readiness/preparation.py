"""Examines a project's plan before its migration: does a process follow it, and can its limits decide? Entry point."""

from __future__ import annotations

import os

from poolproof.bridge import ConfigError
from poolproof.harness.readiness.checklist import Preparation
from poolproof.migration.followers.place import state_path
from poolproof.migration.followers.record import Life
from poolproof.migration.followers.registry import find_followers
from poolproof.migration.plan import Moving, Plan
from poolproof.migration.state import StateFile


def examine_plan(plan: Plan) -> Preparation:
    """Examine the plan, its state file and the processes that follow it. Changes nothing."""
    problems, doubts = [], []
    try:
        path = state_path(plan)
    except ConfigError as error:
        return Preparation(facts=(), problems=(str(error),))
    if path is None:
        return Preparation(facts=("the migration is private to its pool",), problems=("no command can change it",))
    file = StateFile(path)
    facts = [f"flag: {plan.flag!r}"] if plan.flag else []
    facts += [f"state: {file.path}", f"steps: {', '.join(f'{step} %' for step in plan.ramp)}"]
    entry = file.read()
    if entry is not None and entry.trouble and not plan.flag:
        problems.append(entry.trouble)
    folder = next(parent for parent in file.path.parents if parent.is_dir())
    if not os.access(folder, os.W_OK) or (plan.state_file is not None and folder != file.path.parent):
        problems.append(f"{file.path} cannot be written by this user")
    living = [one.record for one in find_followers(file.followers_path) if one.life is not Life.DEAD]
    copied = sorted(plan.idempotent.union(*(one.idempotent for one in living)))
    if copied:
        facts.append(f"copied in shadow mode: {', '.join(copied)}")
    else:
        doubts.append("no command is idempotent in the plan of this folder, so shadow mode would compare nothing")
    if plan.back is Moving.LOST:
        facts.append("a rollback ends the sessions on v2")
    facts.append(f"{len(living)} processes follow")
    return Preparation(facts=tuple(facts), problems=tuple(problems), doubts=tuple(doubts))
