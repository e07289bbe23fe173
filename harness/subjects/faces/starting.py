"""Faces that differ in how workers start: forked by a zygote, or started by a user's command line."""

from __future__ import annotations

import sys

import msgspec

from poolproof.bridge import PoolConfig
from poolproof.bridge.config import DEFAULT_WORKER_COMMAND
from poolproof.harness.model.face import Face, Setting
from poolproof.harness.model.fault import START_FAULTS
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan

COMMAND_LINE = (sys.executable, "-u", *DEFAULT_WORKER_COMMAND[1:])
"""The shipped worker's command in words other than the default, so that the pool treats it as a foreign program."""


def _with_zygote(config: PoolConfig, setting: Setting) -> PoolConfig:
    return msgspec.structs.replace(config, zygote=True)


def _by_command(config: PoolConfig, setting: Setting) -> PoolConfig:
    if config.command_words() != DEFAULT_WORKER_COMMAND:
        return config  # the worker is a foreign program already
    return msgspec.structs.replace(config, worker_command=COMMAND_LINE)


def _refuses_zygote(scenario: Scenario, plan: Plan) -> str:
    if any(fault.kind in START_FAULTS for fault in scenario.faults):
        return "a zygote forks the shipped worker only, and faults at a worker's start need another program"
    return ""


ZYGOTE = Face(
    name="zygote",
    summary="pool.execute, with workers that are forked from a warm process (zygote)",
    configure=_with_zygote,
    refuses=_refuses_zygote,
    starts=True,
)


def _refuses_command(scenario: Scenario, plan: Plan) -> str:
    if scenario.config.get("zygote") or scenario.config.get("preload"):
        return "a zygote forks the shipped worker alone"
    if scenario.config.get("lazy") and any(step.upload_bytes for steps in plan for step in steps):
        return "whether workers of another program take bytes is not known before the first of them has started"
    return ""


FOREIGN_WORKER = Face(
    name="foreign_worker",
    summary="pool.execute, with workers that are started by a command line (--worker-command)",
    configure=_by_command,
    refuses=_refuses_command,
    starts=True,
)
