"""The command `analyze`: judges stored runs again."""

from __future__ import annotations

from poolproof.harness.cli.commands.options import OF_DECISION, AsJson, Imports, Run, is_run
from poolproof.harness.cli.commands.results import show_results
from poolproof.harness.cli.output import Terminal, say_json
from poolproof.harness.cli.terminal import show_decision
from poolproof.harness.compare.catalogue import find_stored
from poolproof.harness.compare.stored.reanalysis import reanalyze
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.runner import analyze
from poolproof.harness.run.store import RunFolder, read_comparison
from poolproof.harness.subjects.named import Named


def analyze_command(run: Run, imports: Imports = None, as_json: AsJson = False) -> int:
    """Run the checkers again on stored records: of one run, or of every run of a comparison."""
    named = Named(imports or ())
    if is_run(run):
        folder = RunFolder(run)
        info = folder.read_info()
        scenarios = {scenario.name: scenario for scenario in find_stored(info.file or info.scenario, named)}
        if info.scenario not in scenarios:
            raise UsageError(f"{info.file} no longer defines the scenario {info.scenario!r}")
        result = analyze(scenarios[info.scenario], folder)
        folder.write_result(result)
        return show_results([result], scenarios, as_json=as_json)
    home = run if run.is_dir() else run.parent
    comparison = reanalyze(read_comparison(run), home, lambda word: find_stored(word, named))
    if as_json:
        say_json(comparison)
    else:
        show_decision(Terminal(), comparison)
    return OF_DECISION[comparison.decision]
