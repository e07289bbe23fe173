"""Everything that records one run: the recorder, the tracker of worker processes, the journal reader, resources."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from poolproof.harness.run.recording.journal_reader import JournalReader
from poolproof.harness.run.recording.recorder import Recorder
from poolproof.harness.run.recording.resource_snapshot import leftovers_since, take_census
from poolproof.harness.run.recording.worker_tracker import WorkerTracker
from poolproof.harness.run.store import RunFolder

LEFTOVER_PATIENCE_S = 2.0


class Recording:
    """The recorders of one run in this folder. Construct it before the pool, whose leftovers are counted from then.

    No credential of `env`, the workers' variables, is recorded.
    """

    def __init__(self, folder: RunFolder, env: Mapping[str, str] | None = None) -> None:
        self.tracker = WorkerTracker()
        self.recorder = Recorder(folder.history, self.tracker, env)
        self._before = take_census()  # includes the recorder's thread and file, which outlive the pool
        self.journals = JournalReader(folder.journal, self.tracker, self.recorder)

    def observe(self, event: Any) -> None:  # noqa: ANN401 - poolproof.bridge.Event
        """Record an event of the pool."""
        self.tracker.observe(event)
        self.recorder.observe(event)

    def record_leftovers(self, pids: Set[int]) -> None:
        """After the pool's close, record what is left of it. `pids` are further processes that belong to the pool."""
        self.journals.stop()
        known = frozenset(self.tracker.seen | pids)
        self.recorder.leftovers(leftovers_since(self._before, patience_s=LEFTOVER_PATIENCE_S, extra_pids=known))
