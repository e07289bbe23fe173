"""Another pickler for the calls of an executor, such as cloudpickle: lambdas, functions of a notebook, and the like.

A value that it is to pickle is wrapped: the standard pickle then holds the name of the pickler and the bytes that the
pickler made, and whoever reads it gets the value itself.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from poolproof.bridge.worker.handlers.pickles import PROTOCOL


class Pickler(Protocol):
    """A module or an object with two functions, as in the module `pickle`."""

    @property
    def dumps(self) -> Callable[..., bytes]:
        """Pickles a value."""
        ...

    @property
    def loads(self) -> Callable[..., Any]:
        """Reads a pickle."""
        ...


def find_pickler(pickler: str | Pickler) -> Pickler:
    """Return the pickler, a module if it is a name. Raises ImportError, or TypeError if it has no dumps and loads."""
    found: Any = import_module(pickler) if isinstance(pickler, str) else pickler
    if not (callable(getattr(found, "dumps", None)) and callable(getattr(found, "loads", None))):
        raise TypeError(f"it has no functions `dumps` and `loads`: {found!r:.100}")
    return found  # type: ignore[no-any-return]


class Wrapped:
    """A value that `pickler` pickles. Whoever reads the pickle gets the value itself."""

    def __init__(self, value: object, pickler: Pickler) -> None:
        self._value = value
        self._pickler = pickler
        if isinstance(value, Function):
            self.__qualname__ = value.__qualname__  # for messages

    def __reduce__(self) -> tuple[Any, ...]:
        pickler = self._pickler
        buffers: list[pickle.PickleBuffer] = []
        try:
            data = pickler.dumps(self._value, protocol=PROTOCOL, buffer_callback=buffers.append)
        except TypeError:  # it knows no buffers, or the value cannot be pickled: then this raises too
            buffers.clear()
            data = pickler.dumps(self._value)
        return _read, (pickler.__name__ if isinstance(pickler, ModuleType) else pickler, data, buffers)


class Function:
    """What a worker calls in place of `function`: its arguments and its result are pickled by `pickler`, too."""

    def __init__(self, function: Callable[..., Any], pickler: str | Pickler) -> None:
        self._function = function
        self._pickler = pickler
        self.__qualname__ = str(getattr(function, "__qualname__", None) or repr(function))

    def __call__(self, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> Wrapped:
        """Call the function with these (positional, named) arguments."""
        positional, named = arguments
        return Wrapped(self._function(*positional, **named), find_pickler(self._pickler))


class Wrapping:
    """Wraps the calls of one executor. Raises ImportError or TypeError for what is no pickler."""

    def __init__(self, pickler: str | Pickler) -> None:
        self._pickler = find_pickler(pickler)
        self._name = self._pickler.__name__ if isinstance(self._pickler, ModuleType) else self._pickler

    def function(self, function: Callable[..., Any]) -> Any:  # noqa: ANN401 - stands for a callable; is only pickled
        """Return what is submitted in place of `function`."""
        return Wrapped(Function(function, self._name), self._pickler)

    def arguments(self, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Return what is submitted in place of the arguments."""
        return (Wrapped((positional, named), self._pickler),)


def _read(pickler: str | Pickler, data: bytes, buffers: Sequence[Any]) -> Any:  # noqa: ANN401
    try:
        found = find_pickler(pickler)
    except ImportError as error:
        raise ImportError(
            f"the pickler {pickler!r} cannot be imported: {error}; install it for the workers' Python"
        ) from error
    return found.loads(data, buffers=buffers) if buffers else found.loads(data)
