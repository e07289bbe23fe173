"""Checkers of a user's own calls: they know the calls only by the functions that the user has given."""

from __future__ import annotations

from poolproof.harness.checkers.roles.outcomes import Answered, Parallel, Reported
from poolproof.harness.checkers.roles.own_answers import OwnMatch
from poolproof.harness.checkers.roles.state import SessionState

__all__ = ["Answered", "OwnMatch", "Parallel", "Reported", "SessionState"]
