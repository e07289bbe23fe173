"""Plants a bug in this process: replaces functions of the pools, notes whether they are entered, and undoes it all.

The replaced function must exist: a function that has moved is an error, never a mutant without effect. A function that
no call of the run enters is an error too; `entered` detects it.
"""

from __future__ import annotations

import functools
import inspect
import mmap
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from poolproof.harness.model.errors import HarnessError

PRODUCT = ("poolproof.bridge", "poolproof.pool_v1", "poolproof.pool_v2", "poolproof.migration")
"""The packages in which `replace_everywhere` replaces a function."""
_REPLACED: list[tuple[Any, str, Any]] = []
_ENTERED = mmap.mmap(-1, 1)  # shared with the children that a run forks


class MutantError(HarnessError):
    """A bug cannot be planted in the intended place."""


def mark_entered() -> None:
    """Record that the bug was executed."""
    _ENTERED[0] = 1


def entered() -> bool:
    """Whether a planted bug was executed since the last `undo`, in this process or in a child that it forked."""
    return _ENTERED[0] == 1


def replace(owner: Any, name: str, make: Callable[[Any], Any], *, counted: bool = True) -> None:  # noqa: ANN401
    """Replace the attribute `name`, which `owner` (a class or a module) itself defines, by `make(original)`.

    If `counted`, entering the replacement counts as executing the bug; if not, the bug calls `mark_entered` itself.
    Raises MutantError if there is no such attribute, or if the replacement does not accept the calls of the original.
    """
    if name not in vars(owner):
        raise MutantError(f"{owner.__name__} has no {name!r} of its own; the bug must be planted elsewhere")
    original = vars(owner)[name]
    _put(owner, name, _made(f"{owner.__name__}.{name}", original, make, counted=counted))


def replace_everywhere(function: Callable[..., Any], make: Callable[[Any], Any], *, counted: bool = True) -> None:
    """Replace a function of a module, as `replace` does, in every module of the product and under each of its names.

    Raises MutantError if no module has it.
    """
    places = [
        (module, name)
        for module in list(sys.modules.values())
        if _of_product(module)
        for name, value in list(vars(module).items())
        if value is function
    ]
    if not places:
        raise MutantError(f"no module of {', '.join(PRODUCT)} has {function.__qualname__}")
    made = _made(f"{function.__module__}.{function.__qualname__}", function, make, counted=counted)
    for module, name in places:
        _put(module, name, made)


def undo() -> tuple[str, ...]:
    """Undo every replacement, and return the names of the restored attributes."""
    names = []
    while _REPLACED:
        owner, name, original = _REPLACED.pop()
        setattr(owner, name, original)
        names.append(f"{owner.__name__}.{name}")
    _ENTERED[0] = 0
    return tuple(reversed(names))


def _put(owner: Any, name: str, made: Any) -> None:  # noqa: ANN401
    _REPLACED.append((owner, name, vars(owner)[name]))
    setattr(owner, name, made)


def _made(where: str, original: Any, make: Callable[[Any], Any], *, counted: bool) -> Any:  # noqa: ANN401
    made = make(original)
    if not inspect.isfunction(original) or not callable(made):
        return made
    if inspect.isfunction(made):
        _require_same_calls(where, inspect.signature(original), inspect.signature(made))
    return _counting(made) if counted else made


def _counting(made: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(made)
    def enter(*args: Any, **rest: Any) -> Any:  # noqa: ANN401
        mark_entered()
        return made(*args, **rest)

    return enter


def _require_same_calls(where: str, original: inspect.Signature, made: inspect.Signature) -> None:
    # Tests two calls: one with all parameters, one with the required parameters only.
    named = [each for each in original.parameters.values() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    for some in (named, [each for each in named if each.default is each.empty]):
        try:
            made.bind(
                *(each.name for each in some if each.kind is not each.KEYWORD_ONLY),
                **{each.name: None for each in some if each.kind is each.KEYWORD_ONLY},
            )
        except TypeError as error:
            raise MutantError(f"{where}{original} cannot be replaced by one of {made}: {error}") from error


def _of_product(module: object) -> bool:
    name = getattr(module, "__name__", "")
    return isinstance(module, ModuleType) and any(name == one or name.startswith(f"{one}.") for one in PRODUCT)
