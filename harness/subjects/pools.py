"""Finds the pools that can be tested, by name. Entry point: it may import every package.

A name is one of poolproof's pools (v1, v2), the name of an entry point that an installed package offers in the group
`poolproof.pools`, "package.module:factory", which is imported (also from the current folder), or "driver:COMMAND", a
program that speaks the driver protocol. "slower:10" is v2 with 10 % more latency, to test a bench.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec

from poolproof.bridge import Capability, Pool, PoolConfig, PoolError
from poolproof.bridge.suggestion import did_you_mean
from poolproof.harness.bench.workloads.planted import PREFIX, parse_planted, slower
from poolproof.harness.model.docstring import summary_of
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.evidence import Evidence
from poolproof.harness.model.face import USUAL_FACES, Face, Setting, Way
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.runner import PoolFactory, Subject
from poolproof.harness.subjects.driver.subject import PREFIX as DRIVER_PREFIX
from poolproof.harness.subjects.driver.subject import driver_subject
from poolproof.harness.subjects.faces import ALL_FACES, FACES
from poolproof.harness.subjects.imports import importing_from
from poolproof.harness.subjects.shipped import SUBJECTS
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.pool import CALL_TIMEOUT_S as V2_CALL_TIMEOUT_S

GROUP = "poolproof.pools"
"""The group of entry points in which a package offers its pools."""


def find_pool(name: str) -> Subject:
    """Find the pool of that name. Raises UsageError with the nearest name, or with what is wrong with a factory."""
    if name in SUBJECTS:
        return SUBJECTS[name]
    if name.startswith(PREFIX):
        percent, of = parse_planted(name)
        return slower(find_pool(of), percent, name)
    if name.startswith(DRIVER_PREFIX):
        return driver_subject(name)
    if ":" in name:
        return _from_factory(name, os.getcwd())
    offered = offered_pools()
    if name in offered:
        return _from_entry_point(offered[name])
    known = [*SUBJECTS, *offered]
    hint = did_you_mean(name, known, cutoff=0.3)
    raise UsageError(
        f"there is no pool {name!r}; there are {', '.join(known)}, package.module:factory, and driver:COMMAND{hint}"
    )


def offered_pools() -> dict[str, EntryPoint]:
    """Return the entry points of installed packages by pool name; none replaces a pool of poolproof."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in SUBJECTS}


def as_subject(made_by: object, name: str) -> Subject:
    """Make the subject of this name from a Subject, a class of pools or a factory `(config, observer) -> Pool`.

    Raises UsageError if `made_by` is none of the three.

    A factory may describe its pools by attributes: `summary`, `capabilities`, `commands`, `call_timeout_s` and
    `checkout_timeout_s`, and `cannot_show` and `learns` (see Subject). Without `capabilities`, one lazy pool is made to
    read them. A factory that takes no observer reports no events. `prepare()`, if there is one, is called once: it
    starts what outlives every pool.

    `faces` are names of `poolproof list faces`, or a mapping from names to callables for faces of the pool's own; each
    callable wraps a pool in an object with an `execute`. Without `faces` a pool has `execute` and `main_thread`, and
    all other faces too if it is a PoolV2.
    """
    prepare = getattr(made_by, "prepare", None)
    if callable(prepare):
        prepare()
    if isinstance(made_by, Subject):
        return msgspec.structs.replace(made_by, name=name)
    if not callable(made_by):
        raise UsageError(f"{name} is no factory of pools but {made_by!r:.80}")
    make = _adapt(made_by, name)
    told, faces = getattr(made_by, "capabilities", None), getattr(made_by, "faces", None)
    kind: type = made_by if isinstance(made_by, type) else object
    if told is None or (faces is None and kind is object and getattr(made_by, "commands", None) is None):
        kind, asked = _ask(make, name)
        told = asked if told is None else told
    capabilities = frozenset(Capability(word) for word in told)
    call_timeout_s = float(getattr(made_by, "call_timeout_s", V2_CALL_TIMEOUT_S))
    return Subject(
        name=name,
        summary=str(getattr(made_by, "summary", summary_of(made_by, "a pool of your own"))),
        make=make,
        capabilities=capabilities,
        call_timeout_s=call_timeout_s,
        checkout_timeout_s=float(getattr(made_by, "checkout_timeout_s", call_timeout_s)),
        commands=getattr(made_by, "commands", None),
        faces=_faces_of(faces, kind, name),
        cannot_show=evidence_named(getattr(made_by, "cannot_show", ()), name),
        learns=bool(getattr(made_by, "learns", False)),
    )


def evidence_named(words: object, name: str) -> frozenset[Evidence]:
    """Return the kinds of evidence that these words name. Raises UsageError for a word that names none."""
    known = [kind.value for kind in Evidence]
    if isinstance(words, str) or not isinstance(words, Iterable) or set(words) - set(known):
        raise UsageError(f"the pool {name!r}: cannot_show is {words!r:.80}; it may hold {', '.join(known)}")
    return frozenset(Evidence(word) for word in words)


def _faces_of(told: object, kind: type, name: str) -> tuple[Face, ...]:
    if told is None:
        return ALL_FACES if issubclass(kind, PoolV2) else USUAL_FACES
    own = dict(told) if isinstance(told, Mapping) else {}
    if not own and isinstance(told, Iterable) and not isinstance(told, str):
        own = dict.fromkeys(told)
    found = {face.name: face for face in USUAL_FACES}
    for word, over in own.items():
        if callable(over):
            found[word] = Face(name=word, summary=f"a face of {name} itself", over=partial(_own_way, over))
        elif word in FACES and over is None:
            found[word] = FACES[word]
        else:
            raise UsageError(f"the pool {name!r}: there is no face {word!r}; there are {', '.join(FACES)}")
    return tuple(found.values())


class _OwnWay(Way):
    """A face that the pool's author has made."""

    def __init__(self, pool: Pool, made: Any) -> None:  # noqa: ANN401 - whatever has an execute
        super().__init__(pool)
        self._made = made

    def execute(self, command: str, args: dict[str, Any], **options: Any) -> Any:  # noqa: ANN401
        """Make one call through the face."""
        return self._made.execute(command, args, **options)

    def close(self, grace_s: float) -> None:
        """Close the pool, then the author's face if it has a `close` of its own."""
        super().close(grace_s)
        if self._made is not self.pool and callable(getattr(self._made, "close", None)):
            self._made.close()


def _own_way(over: Callable[[Pool], Any], pool: Pool, setting: Setting) -> Way:
    return _OwnWay(pool, over(pool))


@cache
def _from_factory(name: str, folder: str) -> Subject:
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise UsageError(f"the pool {name!r}: package.module:factory is needed")
    try:
        with importing_from(folder):  # an installed command does not look there, unlike python -m
            found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"the pool {name!r}: {module_name} cannot be imported: {_tell(error)}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, vars(found) if hasattr(found, "__dict__") else ())
            raise UsageError(f"the pool {name!r}: {module_name} has no {path}{hint}")
        found = getattr(found, part)
    return as_subject(found, name)


@cache
def _from_entry_point(point: EntryPoint) -> Subject:
    try:
        found = point.load()
    except Exception as error:
        raise UsageError(f"the pool {point.name!r} ({point.value}) cannot be loaded: {_tell(error)}") from error
    return as_subject(found, point.name)


def _adapt(factory: Callable[..., Any], name: str) -> PoolFactory:
    # The factory as make(config, observer), whichever of the two arguments it takes, by position or by name.
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the pool {name!r}: its arguments cannot be determined: {error}") from error

    def fits(*positional: object, **named: object) -> bool:
        try:
            signature.bind(*positional, **named)
        except TypeError:
            return False
        return True

    if fits(None, observer=None):
        return lambda config, observer: factory(config, observer=observer)
    if fits(None, None):
        return lambda config, observer: factory(config, observer)
    if fits(None):
        return lambda config, observer: factory(config)
    raise UsageError(
        f"the pool {name!r}: factory(config, observer) is needed, not {name.rpartition(':')[2]}{signature}"
    )


def _ask(make: PoolFactory, name: str) -> tuple[type, frozenset[Capability]]:
    # The class of the pools that the factory makes, and their capabilities.
    try:
        pool = make(PoolConfig(name=pool_name("ask", name), workers=1, lazy=True), None)
    except PoolError as error:
        raise UsageError(f"the pool {name!r} could not be made: {_tell(error)}") from error
    except Exception as error:
        raise UsageError(f"the factory of the pool {name!r} raised an error: {_tell(error)}") from error
    if not isinstance(pool, Pool):
        raise UsageError(f"the pool {name!r}: the factory gave {pool!r:.80}, which lacks {_missing(pool)} of a pool")
    pool.close()
    return type(pool), frozenset(Capability(word) for word in pool.capabilities)


def _missing(made: object) -> str:
    wanted = (word for word in (*dir(Pool), "version", "capabilities") if not word.startswith("_"))
    return ", ".join(word for word in sorted(set(wanted)) if not hasattr(made, word)) or "a part"


def _tell(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " | ")
