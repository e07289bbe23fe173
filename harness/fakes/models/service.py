"""The behaviour of a model server: latencies and failures, decided from the seed and the prompt alone.

Pure: the same seed, model and prompt give the same latency and the same failure, whichever pool asks.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from math import exp
from statistics import NormalDist

import msgspec

from poolproof.harness.model.errors import UsageError

BASE_VARIABLE, KEY_VARIABLE = "LOOPBACK_API_BASE", "LOOPBACK_API_KEY"
BY_ENVIRONMENT = {"api_base_env": BASE_VARIABLE, "api_key_env": KEY_VARIABLE}
"""Arguments of configure_lm for the model server of a run, whose port is not known when the plan is made."""
LONGEST_S = 60.0
"""The largest latency, however rare its draw."""
STATUSES = (400, 401, 403, 404, 408, 429, 500, 502, 503, 504)
FAILING_MODEL = re.compile(r"fails-(\d{3})")
HANGING_MODELS = {"hangs": "hang", "hangs-up": "hang_up"}
_NORMAL = NormalDist()


class Outage(StrEnum):
    """What the model server does to every request during an outage."""

    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    UNAVAILABLE = "unavailable"
    HANG = "hang"
    HANG_UP = "hang_up"


OUTAGE_STATUSES = {Outage.RATE_LIMIT: 429, Outage.SERVER_ERROR: 500, Outage.UNAVAILABLE: 503}


class ModelService(msgspec.Struct, frozen=True, kw_only=True):
    """The behaviour of a model server.

    An answer takes `latency_s` seconds; with `sigma` above 0 that is the median of a log-normal with this shape.
    `failures` are (HTTP status, share of the prompts) pairs. With `key` a request needs the key as its bearer token.
    A model called `fails-429` (or another status), `hangs` or `hangs-up` does so for every prompt.
    """

    latency_s: float = 0.0
    sigma: float = 0.0
    seed: int = 1
    failures: tuple[tuple[int, float], ...] = ()
    key: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.latency_s <= LONGEST_S:
            raise UsageError(f"latency_s {self.latency_s!r} of a model service: from 0 to {LONGEST_S:g} s")
        if not 0 <= self.sigma <= 5:
            raise UsageError(f"sigma {self.sigma!r} of a model service: from 0 to 5")
        for status, share in self.failures:
            if status not in STATUSES:
                raise UsageError(
                    f"status {status!r} of a model service: must be one of {', '.join(map(str, STATUSES))}"
                )
            if not 0 <= share <= 1:
                raise UsageError(f"the share {share!r} of status {status}: from 0 to 1")
        if sum(share for _, share in self.failures) > 1:
            raise UsageError(f"the failures {self.failures!r} of a model service are more than all requests")


class Fate(msgspec.Struct, frozen=True):
    """The result of a request: status 200 or an error's status after `latency_s` seconds, or else an `ending`."""

    latency_s: float
    status: int = 200
    ending: str = ""


def decide(service: ModelService, model: str, prompt: str, outage: Outage | None = None) -> Fate:
    """Decide the result of this prompt; an outage takes precedence over everything else."""
    if outage is not None:
        status = OUTAGE_STATUSES.get(outage)
        return Fate(0.0, status) if status else Fate(0.0, ending=outage.value)
    if model in HANGING_MODELS:
        return Fate(0.0, ending=HANGING_MODELS[model])
    failing = FAILING_MODEL.fullmatch(model)
    if failing:
        return Fate(0.0, int(failing[1]))
    slow, lucky = _draws(f"{service.seed}\0{model}\0{prompt}")
    latency_s = service.latency_s
    if service.sigma and latency_s:
        latency_s = min(latency_s * exp(service.sigma * _NORMAL.inv_cdf(slow)), LONGEST_S)
    for status, share in service.failures:
        if lucky < share:
            return Fate(latency_s, status)
        lucky -= share
    return Fate(latency_s)


def _draws(text: str) -> tuple[float, float]:
    # Two numbers between 0 and 1, both exclusive, that are a function of the text.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    one, other = (int.from_bytes(digest[start : start + 6], "big") for start in (0, 6))
    return (one + 0.5) / 2**48, (other + 0.5) / 2**48
