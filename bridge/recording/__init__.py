"""Recordings of real traffic: calls with their times, clients, sessions, answers and errors, in one file."""

from poolproof.bridge.recording.pools import AsyncRecordingPool, RecordingExecutor, RecordingPool
from poolproof.bridge.recording.records import Call, Recording, RecordingError, read_recording
from poolproof.bridge.recording.writer import Recorder

__all__ = [
    "AsyncRecordingPool",
    "Call",
    "Recorder",
    "Recording",
    "RecordingError",
    "RecordingExecutor",
    "RecordingPool",
    "read_recording",
]
