"""The command `poolproof`: parses the arguments, runs the command, and returns its exit code. Entry point.

Exit codes: 0 SAFE or passed, 1 UNSAFE or failed, 2 invalid usage, 3 INCONCLUSIVE or unknown, 4 the run itself failed,
130 interrupted, 141 the reader of the output has gone. Invalid input is one line on stderr, never a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer

from poolproof.bridge import PoolError
from poolproof.harness.cli.commands import compare, init, run, search, stored, timing
from poolproof.harness.cli.commands.machine import processes, top
from poolproof.harness.cli.commands.migration import migrate
from poolproof.harness.cli.commands.options import Exit
from poolproof.harness.cli.commands.stored import report
from poolproof.harness.cli.output import warn
from poolproof.harness.model.docstring import docstring_of
from poolproof.harness.model.errors import HarnessError, UsageError

NUMBERS = {"int_parsing": "a whole number", "int_from_float": "a whole number", "float_parsing": "a number"}

app = typer.Typer(
    name="poolproof",
    help="Tests whether a new worker pool may replace an old one, and helps to switch over.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"poolproof {metadata.version('poolproof')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version of poolproof and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Tests whether a new worker pool may replace an old one, and helps to switch over."""


FIRST, MACHINE = "Commands to begin with", "Pools and workers of this machine"

app.command("init", rich_help_panel=FIRST)(init.init_command)
app.command("doctor", rich_help_panel=FIRST)(processes.doctor_command)
app.command("compare", rich_help_panel=FIRST)(compare.compare_command)
app.command("run", rich_help_panel=FIRST)(run.run_command)
app.command("open", rich_help_panel=FIRST)(report.open_command)
app.add_typer(migrate.app, name="migrate", rich_help_panel=FIRST)
search.add_commands(app)
timing.add_commands(app)
stored.add_commands(app)
app.command("ps", rich_help_panel=MACHINE)(processes.ps_command)
app.command("top", rich_help_panel=MACHINE)(top.top_command)
app.command("reap", rich_help_panel=MACHINE)(processes.reap_command)
app.command(
    "worker",
    rich_help_panel=MACHINE,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(processes.worker_command)

for group in (app, *(below.typer_instance for below in app.registered_groups)):
    assert group is not None
    for told in group.registered_commands:
        told.help = told.help or docstring_of(told.callback)  # the help is the docstring, which -OO drops


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    command = typer.main.get_command(app)
    try:
        code = command.main(None if arguments is None else list(arguments), "poolproof", standalone_mode=False)
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
