"""All lifecycle tests, and the probes, which are scenarios of the self-check alone."""

from __future__ import annotations

from poolproof.harness.model.scenario import Scenario
from poolproof.harness.mutation.lifecycle_tests.face_probes import FACE_PROBES
from poolproof.harness.mutation.lifecycle_tests.lifecycle_test import LifecycleTest
from poolproof.harness.mutation.lifecycle_tests.probes import PROBES
from poolproof.harness.mutation.lifecycle_tests.starts import START_DRILLS
from poolproof.harness.mutation.lifecycle_tests.tasks import TASK_DRILLS
from poolproof.harness.mutation.lifecycle_tests.threads import DRILLS

LIFECYCLE_TESTS: tuple[Scenario | LifecycleTest, ...] = (*PROBES, *FACE_PROBES, *DRILLS, *START_DRILLS, *TASK_DRILLS)
