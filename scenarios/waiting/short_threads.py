"""F12: workers outlive the threads that call; the same few workers must serve fifty short threads."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, OneOutcome, StableWorkers
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

SCENARIO = Scenario(
    name="short_threads",
    summary="the workers stay alive when fifty threads make one call each and end",
    failures=("F12", "F15"),
    guarantees=("G8", "G16"),
    workload=steady("pid", calls=10, own_thread=True),
    commands=("pid",),
    fixed_size=Size(workers=3, clients=5),
    config=PATIENT,
    checkers=(OneOutcome(), StableWorkers(), *CORE),
)
