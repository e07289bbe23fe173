"""What an exploration found: reduces the first failing run of each checker, and prints the results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from poolproof.harness.cli.commands.options import Exit
from poolproof.harness.cli.commands.search.shrink import describe
from poolproof.harness.cli.output import say, say_json
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.jobs.jobs import Progress, StartJob
from poolproof.harness.compare.power import power
from poolproof.harness.explore.choosing import Chosen, choose_runs
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.request import Request, Subject
from poolproof.harness.run.store import RunFolder
from poolproof.harness.shrink.hints import choose_finding, hints_of
from poolproof.harness.shrink.shrinking import Bounds, Shrinking, Shrunk

SHRINK = Bounds(runs=150, seconds=50.0, repeats=2)


def reduce_each(
    results: list[RunResult], subject: Subject, seed: int, folder: Path, *, start_job: StartJob, progress: Progress
) -> list[Shrunk]:
    """Reduce the first failing run of each checker, in folders below `folder`; `seed` is that of the exploration."""
    shrunk = []
    for result, chosen in first_of_each(results, subject, seed):
        info = RunFolder(Path(result.folder)).read_info()
        kept = choose_finding(result, None, lambda _: False)
        shrinking = Shrinking(
            chosen.scenario,
            subject,
            info,
            kept,
            folder / result.scenario,
            scale=1.0,
            bounds=SHRINK,
            hints=hints_of(result, kept, info, chosen.scenario),
            start_job=start_job,
            progress=progress,
        )
        shrunk.append(shrinking.carry_out())
    return shrunk


def first_of_each(results: list[RunResult], subject: Subject, seed: int) -> Iterator[tuple[RunResult, Chosen]]:
    """Yield the first failing run of each checker, with the scenario that it ran."""
    seen: set[str] = set()
    for result in results:
        failed = [found.checker for found in result.findings if found.verdict is Verdict.FAIL]
        if failed and failed[0] not in seen:
            seen.add(failed[0])
            (chosen,) = choose_runs(0, subject, Request(seed=seed), first=[result.scenario])
            yield result, chosen


def show_exploration(pool: str, results: list[RunResult], shrunk: list[Shrunk], *, as_json: bool) -> int:
    """Print what was found, and return the exit code."""
    failed = [result for result in results if result.verdict is Verdict.FAIL]
    troubled = [result for result in results if result.trouble]
    if as_json:
        told = {"pool": pool, "runs": len(results), "failed": failed, "troubled": troubled, "shrunk": shrunk}
        say_json(told)
    else:
        for result in failed:
            say(f"{result.scenario} on {result.made_in}")
            for found in result.findings:
                if found.verdict is Verdict.FAIL:
                    say(f"  {found.checker}: {found.claim}")
                    say(*(f"    {example}" for example in found.examples))
            say(f"  again: {result.replay}")
        say(*(line for one in shrunk for line in describe(one)))
        say(*(f"{result.scenario} could not be judged: {result.trouble}" for result in troubled))
        say(f"{len(failed)} of {len(results)} generated runs found something")
        if results and not failed:
            say(power(pool, results))
    if failed:
        return Exit.BAD
    return Exit.UNDECIDED if troubled or not results else Exit.GOOD
