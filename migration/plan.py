"""The plan of a migration: modes and steps, the calls to copy, the pool of each session, and the limits for a rollback.

Pure. Durations are seconds; rates and shares are fractions unless they are called percent.

    v1       v1 serves everything
    shadow   v1 serves everything; v2 gets copies of some calls, and its responses are compared
    canary   v2 serves P % of the calls outside sessions, and of the new sessions
    v2       v2 serves everything
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Self

import msgspec

from poolproof.bridge import ConfigError
from poolproof.bridge.config import STATE_COMMANDS, duration
from poolproof.bridge.suggestion import did_you_mean

POSITION_PATTERN = re.compile(r"canary:(\d{1,3})")
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST_WINDOW_CALLS = 2000
DEFAULT_NAME = "default"
"""The name of a migration for which neither a name nor a state file is configured."""


def _whole(option: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{option} {value!r}: must be a whole number from {least} to {most}")


def _number(option: str, value: float, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(f"{option} {value!r}: must be a number from {least:g} to {most:g}")


class Side(StrEnum):
    """One of the two pools."""

    V1 = "v1"
    V2 = "v2"


class Mode(StrEnum):
    """Which pool serves the calls."""

    V1 = "v1"
    SHADOW = "shadow"
    CANARY = "canary"
    V2 = "v2"


class Position(msgspec.Struct, frozen=True):
    """The position of a migration: its mode and, for a canary only, v2's share in percent (1 to 99)."""

    mode: Mode = Mode.V1
    percent: int = 0

    def __post_init__(self) -> None:
        least, most = (1, 99) if self.mode is Mode.CANARY else (0, 0)
        if isinstance(self.percent, bool) or not isinstance(self.percent, int) or not least <= self.percent <= most:
            raise ConfigError(f"mode {self.mode.value}: percent {self.percent!r} must be from {least} to {most}")

    @classmethod
    def parse(cls, text: str) -> Position:
        """Parse "v1", "shadow", "canary:25" or "v2"; "canary:100" is v2. Raises ConfigError."""
        if found := POSITION_PATTERN.fullmatch(text):
            return cls.canary(int(found[1]))
        if text in (Mode.V1, Mode.SHADOW, Mode.V2):
            return cls(Mode(text))
        raise ConfigError(f"pool version {text!r}: must be v1, v2, shadow or canary:PERCENT, such as canary:25")

    @classmethod
    def canary(cls, percent: int) -> Position:
        """Return a canary position of 1 to 100 percent; 100 percent is v2. Raises ConfigError."""
        if not 1 <= percent <= 100:
            raise ConfigError(f"canary {percent}: must be a whole number of percent from 1 to 100")
        return cls(Mode.V2) if percent == 100 else cls(Mode.CANARY, percent)

    @property
    def uses(self) -> tuple[Side, ...]:
        """The pools that get calls or copies."""
        return {Mode.V1: (Side.V1,), Mode.V2: (Side.V2,)}.get(self.mode, (Side.V1, Side.V2))

    @property
    def percent_of_v2(self) -> int:
        """The share of calls outside sessions that v2 serves, in percent."""
        return 100 if self.mode is Mode.V2 else self.percent

    def __str__(self) -> str:
        return f"canary:{self.percent}" if self.mode is Mode.CANARY else self.mode.value


class Moving(StrEnum):
    """What happens to a session whose pool no longer serves: it is handed over, stays on its pool, or ends as lost."""

    HANDOVER = "handover"
    STAY = "stay"
    LOST = "lost"


class OnBreach(StrEnum):
    """What a breached limit does: v1 serves again, the migration stands still, or the breach is only reported."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    REPORT = "report"


class Guardrails(msgspec.Struct, frozen=True, kw_only=True):
    """The limits for v2. What a breach of any limit does is said by `Plan.on_breach`.

    `max_error_rate`: the share of failed calls above v1's share, from `min_errors` failures on. `max_failures_in_row`:
    the number of consecutive failures. `max_latency_ratio`: v2's `latency_quantile` divided by v1's; a difference below
    `latency_slack_s` never breaches. `max_mismatch_rate`: the share of copies with a different response; at 0 a single
    one breaches. `max_lost_sessions`: sessions that ended as SessionLost. `max_call_s`: how long a call may be in
    flight; None: only the call's own timeout applies.
    Windows have the calls of the last `window_s` seconds, and the last `window_calls` calls whatever their age. Rates
    need `min_calls` calls (copies). They breach only if they are no accident: `significance` is the probability of
    such a window if v2 is as good as v1. In each step, v2's first `warm_up_calls` calls, and those of the first
    `warm_up_s` seconds, count for no rate.
    """

    window_s: float = 60.0
    window_calls: int = 1000
    min_calls: int = 20
    min_errors: int = 3
    significance: float = 1e-6
    warm_up_calls: int = 0
    warm_up_s: float = 0.0
    max_error_rate: float = 0.02
    max_failures_in_row: int = 5
    max_latency_ratio: float = 1.5
    latency_quantile: float = 0.95
    latency_slack_s: float = 0.005
    max_mismatch_rate: float = 0.0
    max_lost_sessions: int = 0
    max_call_s: float | None = None

    def __post_init__(self) -> None:
        duration("window_s", self.window_s)
        if self.max_call_s is not None:
            duration("max_call_s", self.max_call_s)
        for option, least in (
            ("min_calls", 1),
            ("min_errors", 1),
            ("max_failures_in_row", 1),
            ("max_lost_sessions", 0),
            ("warm_up_calls", 0),
        ):
            _whole(option, getattr(self, option), least, 10**9)
        for option in ("max_error_rate", "max_mismatch_rate"):
            _number(option, getattr(self, option), 0, 1)
        _whole("window_calls", self.window_calls, 1, MOST_WINDOW_CALLS)
        _number("significance", self.significance, 1e-12, 1)
        _number("warm_up_s", self.warm_up_s, 0, 86400)
        _number("latency_quantile", self.latency_quantile, 0.5, 1)
        _number("max_latency_ratio", self.max_latency_ratio, 1, 10**6)
        _number("latency_slack_s", self.latency_slack_s, 0, 3600)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a migration. Raises ConfigError for invalid options.

    `state_file` is shared by all processes that migrate together, and outlives them; `name` is the same for a file in
    the user's own folder (poolproof.migration.followers.place). A plan with neither is private to its pool. `begin` is
    the position to begin with: "v1" waits until somebody begins the migration, any other begins it unless it has begun.
    `flag` is the key of a feature flag (OpenFeature) that sets the position in place of the state file, beside which
    the processes still register.
    `on_breach` says what a breached limit does. `ramp` lists the canary's steps in percent. With `automatic`, each step
    is promoted after `step_s` seconds and at least `step_calls` calls (copies) of v2.
    `idempotent` are the commands that shadow mode may run a second time, on v2. At most `shadow_queue` copies wait for
    `shadow_threads` threads, and each copy may take `shadow_timeout_s`.
    `forward` says what happens to sessions on v1 when v2 serves everything; `back` says what happens to sessions on v2
    after a rollback (they cannot stay). A handover repeats the session's acknowledged `state_commands`; at most
    `session_log_bytes` of them are kept. `undoes_unanswered` are the pools that end the worker of an unanswered call,
    so that the call leaves no trace in the session. On other pools, a session with such a call cannot be handed over.
    `session_wait_s` is how long a call waits for its turn within its session, if the call has no timeout.
    `fall_back`: if v2 refuses a call outside sessions before it was sent, v1 serves the call.
    """

    begin: str = "v1"
    state_file: str | None = None
    name: str = ""
    flag: str = ""
    on_breach: OnBreach = OnBreach.ROLLBACK
    ramp: tuple[int, ...] = (1, 5, 25, 50, 100)
    automatic: bool = False
    step_s: float = 300.0
    step_calls: int = 100
    idempotent: frozenset[str] = frozenset()
    shadow_queue: int = 100
    shadow_threads: int = 2
    shadow_timeout_s: float = 5.0
    forward: Moving = Moving.HANDOVER
    back: Moving = Moving.HANDOVER
    state_commands: frozenset[str] = STATE_COMMANDS
    session_log_bytes: int = 4 * 1024 * 1024
    session_wait_s: float = 5.0
    undoes_unanswered: frozenset[Side] = frozenset({Side.V2})
    fall_back: bool = True
    poll_s: float = 0.1
    guardrails: Guardrails = Guardrails()

    def __post_init__(self) -> None:
        Position.parse(self.begin)
        if self.name:
            require_name(self.name)
        if self.name and self.state_file is not None:
            raise ConfigError(f"name {self.name!r} and state_file {self.state_file!r}: give one of the two")
        if self.flag:
            self._require_flag()
        if not self.ramp or list(self.ramp) != sorted(set(self.ramp)) or self.ramp[0] < 1 or self.ramp[-1] != 100:
            raise ConfigError(f"ramp {self.ramp!r}: must be rising percentages, the first at least 1 and the last 100")
        for option in ("step_s", "shadow_timeout_s", "session_wait_s", "poll_s"):
            duration(option, getattr(self, option))
        _number("poll_s", self.poll_s, 0.01, 0.5)
        _whole("step_calls", self.step_calls, 0, 10**9)
        _whole("shadow_queue", self.shadow_queue, 1, 10**6)
        _whole("shadow_threads", self.shadow_threads, 1, 64)
        _whole("session_log_bytes", self.session_log_bytes, 0, 2**40)
        if self.back is Moving.STAY:
            raise ConfigError("back 'stay': must be handover or lost, because after a rollback v2 serves no sessions")
        for option in ("idempotent", "state_commands"):
            if not all(isinstance(word, str) and word for word in getattr(self, option)):
                raise ConfigError(f"{option} {getattr(self, option)!r}: must be a set of command names")
        if both := self.idempotent & self.state_commands:
            raise ConfigError(
                f"idempotent {sorted(both)!r}: a command of state_commands cannot be idempotent, "
                "because the copies of shadow mode have no session"
            )

    def _require_flag(self) -> None:
        if not self.flag.isprintable() or self.flag != self.flag.strip():
            raise ConfigError(f"flag {self.flag!r}: must be the key of a feature flag")
        for option, usual in (("begin", "v1"), ("automatic", False)):
            if (value := getattr(self, option)) != usual:
                raise ConfigError(f"flag {self.flag!r} and {option} {value!r}: only the flag sets the position")
        if self.on_breach is OnBreach.PAUSE:
            raise ConfigError(
                f"flag {self.flag!r} and on_breach 'pause': nobody could resume; on_breach must be rollback or report"
            )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from option names and values, such as a TOML table.

        Raises ConfigError that suggests the nearest valid option.
        """
        require_known(options, field_names(cls), "option")
        rails = options.get("guardrails")
        if isinstance(rails, Mapping):
            require_known(rails, field_names(Guardrails), "option of guardrails")
        try:
            return msgspec.convert(dict(options), cls, strict=True)
        except msgspec.ValidationError as error:
            raise ConfigError(f"the migration's options: {error}") from error

    def next_step(self, now: Position) -> Position | None:
        """Return the next position of `promote`: v1 to shadow, then along the ramp to v2; None from v2."""
        match now.mode:
            case Mode.V1:
                return Position(Mode.SHADOW)
            case Mode.V2:
                return None
            case _:
                return Position.canary(next(step for step in self.ramp if step > now.percent))


def require_name(name: str) -> None:
    """Raise ConfigError unless this can be the name of a migration."""
    if not NAME_PATTERN.fullmatch(name):
        raise ConfigError(
            f"name {name!r}: must be 1 to 64 letters, digits, dots, underscores or hyphens, a letter or digit first"
        )


def field_names(struct: type[msgspec.Struct]) -> list[str]:
    """Return the names of the struct's fields."""
    return [field.name for field in msgspec.structs.fields(struct)]


def require_known(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise ConfigError for the first of `names` that is not in `known`, with the nearest known name."""
    valid = list(known)
    for name in names:
        if name not in valid:
            raise ConfigError(f"unknown {what} {name!r}{did_you_mean(str(name), valid, cutoff=0.0)}")
