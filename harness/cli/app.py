"""The command `poolproof`: parses the arguments, runs the command, and returns its exit code. Entry point.

Exit codes: 0 SAFE or passed, 1 UNSAFE or failed, 2 invalid usage, 3 INCONCLUSIVE or unknown, 4 the run itself failed,
130 interrupted, 141 the reader of the output has gone. Invalid input is one line on stderr, never a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from copy import copy
from importlib import import_module, metadata
from typing import Annotated, Any, NamedTuple

import typer

from poolproof.bridge import PoolError
from poolproof.harness.cli.commands.options import Exit
from poolproof.harness.cli.output import warn
from poolproof.harness.model.docstring import docstring_of
from poolproof.harness.model.errors import HarnessError, UsageError

NUMBERS = {"int_parsing": "a whole number", "int_from_float": "a whole number", "float_parsing": "a number"}
HELP = "Tests whether a new worker pool may replace an old one, and helps to switch over."
FIRST = "Commands to begin with"
SEARCH = "Search for faults"
MEASURE = "Measure"
STORED = "Stored results"
MACHINE = "Pools and workers of this machine"


class Listed(NamedTuple):
    """A command: its name, its heading in the help, and its function, or its Typer if it has commands of its own.

    A name of two words is that of a command of the group before it, which imports more than the rest of the group.
    """

    name: str
    panel: str
    module: str
    attribute: str


COMMANDS = (
    Listed("init", FIRST, "init", "init_command"),
    Listed("doctor", FIRST, "machine.doctor", "doctor_command"),
    Listed("compare", FIRST, "compare", "compare_command"),
    Listed("run", FIRST, "run", "run_command"),
    Listed("open", FIRST, "stored.report", "open_command"),
    Listed("migrate", FIRST, "migration.migrate", "app"),
    Listed("migrate validate", FIRST, "migration.validate", "validate_command"),
    Listed("shrink", SEARCH, "search.shrink", "shrink_command"),
    Listed("explore", SEARCH, "search.explore", "explore_command"),
    Listed("simulate", SEARCH, "search.simulate", "simulate_command"),
    Listed("selfcheck", SEARCH, "search.selfcheck", "selfcheck_command"),
    Listed("driver", SEARCH, "search.driver", "driver_app"),
    Listed("bench", MEASURE, "timing.bench", "bench_command"),
    Listed("sweep", MEASURE, "timing.sweep", "sweep_command"),
    Listed("baseline", MEASURE, "timing.baseline", "baseline_app"),
    Listed("history", MEASURE, "timing.history", "history_command"),
    Listed("list", STORED, "stored.listing", "list_command"),
    Listed("report", STORED, "stored.report", "report_command"),
    Listed("diff", STORED, "stored.diff", "diff_command"),
    Listed("analyze", STORED, "stored.analyze", "analyze_command"),
    Listed("site", STORED, "stored.report", "site_command"),
    Listed("clean", STORED, "stored.clean", "clean_command"),
    Listed("schema", STORED, "stored.report", "schema_command"),
    Listed("ps", MACHINE, "machine.processes", "ps_command"),
    Listed("top", MACHINE, "machine.top", "top_command"),
    Listed("reap", MACHINE, "machine.processes", "reap_command"),
    Listed("worker", MACHINE, "machine.processes", "worker_command"),
)
"""All commands, in the order in which the help lists them. The modules are below `poolproof.harness.cli.commands`."""
_PASSES_ON = frozenset({"worker"})
"""The commands that pass options that they do not know on."""


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """Return the program that runs these arguments: with all commands, or only with the one that they name.

    Importing all commands takes longer than what many of them do.
    """
    app = typer.Typer(name="poolproof", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback(help=HELP)(_about)
    groups: dict[str, typer.Typer] = {"": app}
    alone = [one for one in COMMANDS if one.name.split()[0] in words[:1]]
    for listed in () if "--version" in words[:1] else alone or COMMANDS:
        above, _, name = listed.name.rpartition(" ")
        group = groups[above]
        if above and words[1:2] and words[1] in {known.name for known in group.registered_commands}:
            continue
        found: Any = getattr(import_module(f"poolproof.harness.cli.commands.{listed.module}"), listed.attribute)
        if isinstance(found, typer.Typer):
            groups[name] = below = copy(found)
            below.registered_commands = list(found.registered_commands)
            app.add_typer(below, name=name, rich_help_panel=listed.panel)
        else:
            extra = listed.name in _PASSES_ON
            group.command(
                name,
                rich_help_panel=None if above else listed.panel,
                context_settings={"allow_extra_args": extra, "ignore_unknown_options": extra},
            )(found)
    for group in groups.values():
        for command in group.registered_commands:
            command.help = command.help or docstring_of(command.callback)  # the help is the docstring; -OO drops it
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"poolproof {metadata.version('poolproof')}")
        raise typer.Exit


def _about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version of poolproof and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    command = typer.main.get_command(make_app(words))
    try:
        code = command.main(words, "poolproof", standalone_mode=False)
    except typer.TyperException as error:
        if told := _tell(error):  # empty if no command was given: the help has been printed already
            _complain(told)
        return Exit.USAGE
    except UsageError as error:
        _complain(str(error))
        return Exit.USAGE
    except (KeyboardInterrupt, typer.Abort):
        warn("poolproof: interrupted")
        return Exit.INTERRUPTED
    except SystemExit as left:
        if left.code == 1:  # the reader of the output has gone, so this is no verdict on the pools
            return Exit.READER_GONE
        return left.code if isinstance(left.code, int) else Exit.BROKEN
    except (HarnessError, PoolError, OSError) as error:
        _complain(str(error))
        return Exit.BROKEN
    except BaseException as error:
        _complain(f"internal error (a bug in poolproof): {type(error).__name__}: {error}")
        return Exit.BROKEN
    return int(code or 0)


def _tell(error: typer.TyperException) -> str:
    # Names the option, the bad value and the option's help with its limits: the validator's message has none of these.
    param, reason = getattr(error, "param", None), error.__cause__
    validated: Any = getattr(reason, "errors", None)
    if param is not None and validated is not None:
        found = validated()[0]
        if expected := NUMBERS.get(found["type"]):
            name = param.opts[0] if param.opts[0].startswith("-") else param.name
            about = f" ({param.help.rstrip('.')})" if param.help else ""
            return f"{name} {found['input']!r}: {expected} is expected{about}"
    return error.format_message().strip()


def _complain(text: str) -> None:
    warn(f"poolproof: {text}".replace("\n", " | "))
