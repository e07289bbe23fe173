"""Output of the command line: progress on stderr, findings and tables on stdout.

Knows nothing of the runs themselves. Without a terminal it prints plain lines; NO_COLOR is respected.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from poolproof.bridge.safe_text import one_line
from poolproof.harness.cli.output import shown
from poolproof.harness.compare.comparison import Comparison, RunResult
from poolproof.harness.model.verdict import Decision, Verdict

STYLES = {
    "pass": "green",
    "fail": "red",
    "unknown": "yellow",
    "skipped": "dim",
    "declared": "dark_orange",
    "SAFE": "bold green",
    "UNSAFE": "bold red",
    "INCONCLUSIVE": "bold yellow",
}
MOST_NAMED = 3


class Steps:
    """Shows the steps of a run: a bar on a terminal, otherwise a line for each step, nothing if `quiet`. Thread-safe.

    The bar shows the estimated remaining time and, for steps named "WHAT on POOL", each pool's outcomes so far.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._lock = threading.Lock()
        self._total = self._done = 0
        self._running: dict[str, None] = {}
        self._outcomes: dict[str, Counter[str]] = {}
        self._bar: Progress | None = None
        if console.is_terminal and not quiet:
            self._bar = Progress(
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                TextColumn("{task.description}"),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=None, figures="")

    def planned(self, total: int) -> None:
        """Set the number of steps."""
        self._total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total)

    def began(self, what: str) -> None:
        """A step began."""
        with self._lock:
            self._running[what] = None
            self._show()

    def ended(self, what: str, outcome: str) -> None:
        """A step ended."""
        with self._lock:
            self._running.pop(what, None)
            self._done += 1
            _, named, pool = what.rpartition(" on ")
            if named:
                self._outcomes.setdefault(pool, Counter())[outcome] += 1
            if self._bar is not None:
                self._bar.advance(self._task)
                self._bar.console.print(f"  {shown(what)}: {styled(outcome)}", highlight=False)
            elif not self._quiet:
                print_line(self._console, f"[{self._done}/{self._total}] {what}: {outcome}")
            self._show()

    def _show(self) -> None:
        if self._bar is not None:
            names = list(self._running)
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            described = shown(", ".join(names[:MOST_NAMED]) + more)
            self._bar.update(self._task, description=described, figures=self._figures())

    def _figures(self) -> str:
        # "v1 12 pass 2 fail · v2 14 pass", with each outcome in its colour.
        return " · ".join(
            f"[bold]{shown(pool)}[/] " + " ".join(f"{count} {styled(word)}" for word, count in sorted(found.items()))
            for pool, found in sorted(self._outcomes.items())
        )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def print_line(console: Console, text: str) -> None:
    """Print the text as one line, as it is."""
    console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)


def styled(word: str) -> str:
    """Return a word such as "pass" as console markup with the colour for it."""
    style = STYLES.get(word)
    return f"[{style}]{shown(word)}[/]" if style else shown(word)


def show_result(console: Console, result: RunResult, declared: dict[str, str], notes: Sequence[str] = ()) -> None:
    """Print one run with its findings; `declared` has reasons of declared failures by checker, `notes` are warnings."""
    word = result.verdict.value if not result.skipped else "skipped"
    fails = [found.checker for found in result.findings if found.verdict is Verdict.FAIL]
    if fails and all(checker in declared for checker in fails):
        word = "fail, as declared"
    said = "fail" if word.startswith("fail") else word
    console.print(
        f"[bold]{shown(result.scenario)}[/] on [bold]{shown(result.pool)}[/], face {shown(result.face)}, "
        f"{'observed' if result.observed else 'not observed'}, seed {result.seed}: "
        f"[{STYLES.get('declared' if ',' in word else said, '')}]{word}[/]",
        highlight=False,
        soft_wrap=True,
    )
    for text in (result.skipped, result.trouble):
        for line in text.splitlines():
            print_line(console, f"  {line}")
    for found in result.findings:
        mark = styled(found.verdict.value)
        console.print(f"  {mark:<8} {shown(found.checker)}: {shown(found.claim)}", highlight=False, soft_wrap=True)
        if found.verdict is Verdict.FAIL and found.checker in declared:
            print_line(console, f"      declared beforehand: {declared[found.checker]}")
        if found.verdict is not Verdict.PASS:
            for example in found.examples:
                print_line(console, f"      {example}")
            if result.replay:
                print_line(console, f"      to run it again: {result.replay}")
    if result.not_asked:
        names = ", ".join(f"{checker} (needs {evidence})" for checker, evidence in result.not_asked)
        print_line(console, f"  not asked of this pool, which declares that it cannot show the evidence: {names}")
    if result.unasked:
        told = f"  not asked, because these checkers need an observed run: {', '.join(result.unasked)}"
        print_line(console, told)
    for note in notes:
        print_line(console, f"  warning: {note}")
    if result.folder:
        print_line(console, f"  the records are in {result.folder}")


def show_decision(console: Console, comparison: Comparison) -> None:
    """Print the decision and its reasons."""
    console.print(
        f"{styled(comparison.decision.value)}: {shown(comparison.candidate)} replacing {shown(comparison.baseline)}",
        highlight=False,
    )
    for reason in comparison.reasons:
        print_line(console, f"  - {reason}")
    for sentence in comparison.not_asked:
        print_line(console, f"  not asked: {sentence}")
    for warning in comparison.warnings:
        print_line(console, f"  warning: {warning}")
    if comparison.decision is Decision.INCONCLUSIVE:
        console.print(
            "  INCONCLUSIVE does not mean safe: the report says what would settle the open questions", highlight=False
        )
