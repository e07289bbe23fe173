"""The models of DSPy programs: checks the options, keeps them as JSON, and makes DSPy's model object.

`provider` is the part of a model's name before the "/". `dummy` is DSPy's own DummyLM, which contacts no provider.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

import dspy
from dspy.utils import DummyLM

from poolproof.bridge.worker.handlers.context import HandlerError, number, text

DUMMY = "dummy"
HOTTEST = 2.0
MOST_TOKENS = 10_000_000
MOST_RETRIES = 100
LONGEST_S = 86400.0
BACKENDS = ("auto", "litellm")
ADAPTERS = ("chat", "json", "xml")
TEXTS = ("api_base", "api_base_env", "api_key", "api_key_env")
FROM_ENVIRONMENT = ("api_base_env", "api_key_env")
"""Options that name a variable of the worker's environment; the variable's value is used."""


def configure(args: dict[str, Any]) -> dict[str, Any]:
    """Return the model as JSON. Raises HandlerError that names the argument and never contains a key."""
    name = text(args, "model")
    provider, mark, rest = name.partition("/")
    if args.get("provider") is not None:
        provider = text(args, "provider")
    elif not mark and name != DUMMY:
        raise HandlerError(f"argument 'model': provider/model is needed, not {name!r}, or the argument 'provider'")
    if mark and not rest:
        raise HandlerError(f"argument 'model': {name!r} names a provider, but no model")
    model: dict[str, Any] = {"model": name, "provider": provider}
    model["temperature"] = number(args, "temperature", most=HOTTEST, default=0.7)
    for option, most in (("max_tokens", MOST_TOKENS), ("num_retries", MOST_RETRIES)):
        if args.get(option) is not None:
            model[option] = _whole(args, option, most)
    if args.get("timeout_s") is not None:
        model["timeout_s"] = number(args, "timeout_s", most=LONGEST_S)
    for option in TEXTS:
        if args.get(option) is not None:
            if not isinstance(args[option], str) or not args[option]:
                raise HandlerError(f"argument {option!r}: a string that is not empty is needed")  # it may be a key
            model[option] = args[option]
    for option, known in (("adapter", ADAPTERS), ("backend", BACKENDS)):
        if args.get(option) is not None:
            if args[option] not in known:
                raise HandlerError(f"argument {option!r}: must be one of {', '.join(known)}, not {args[option]!r}")
            model[option] = args[option]
    for option in FROM_ENVIRONMENT:
        if option in model and not os.environ.get(model[option]):
            raise HandlerError(f"argument {option!r}: the worker's environment has no variable {model[option]!r}")
    if (provider == DUMMY) != (args.get("answers") is not None):
        raise HandlerError(
            "argument 'answers': required for models of the provider 'dummy', and not allowed for others"
        )
    if provider == DUMMY:
        model["answers"] = _answers(args["answers"])
    else:
        make_model(model)  # options that DSPy refuses are refused now
    return model


def make_model(model: dict[str, Any]) -> Any:  # noqa: ANN401 - DSPy's object
    """Make DSPy's model from the result of `configure`. Caching is off: every response comes from the model."""
    if model["provider"] == DUMMY:
        return DummyLM(model["answers"])
    options: dict[str, Any] = {"temperature": model["temperature"], "cache": False}
    for name in ("max_tokens", "num_retries", "api_base", "api_key"):
        if name in model:
            options[name] = model[name]
    if "timeout_s" in model:
        options["timeout"] = model["timeout_s"]
    for name in FROM_ENVIRONMENT:
        if name in model:
            options[name.removesuffix("_env")] = os.environ.get(model[name])
    if model.get("backend") == "litellm" and _chooses_backend():
        options["engine"] = "litellm"
    name = model["model"] if "/" in model["model"] else f"{model['provider']}/{model['model']}"
    try:
        return dspy.LM(name, **options)
    except Exception as error:
        raise HandlerError(f"argument 'model': {name!r} cannot be used: {type(error).__name__}: {error}") from error


def _chooses_backend() -> bool:
    # DSPy before 3.4 only supports litellm.
    return "engine" in inspect.signature(dspy.LM.__init__).parameters


def _answers(value: object) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(outputs, dict) for outputs in value.values()):
        raise HandlerError(
            f"argument 'answers': an object that maps a part of the prompt to outputs is needed, not {value!r:.100}"
        )
    return value


def _whole(args: dict[str, Any], name: str, most: int) -> int:
    value = args[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise HandlerError(f"argument {name!r}: must be a whole number from 0 to {most}, not {value!r}")
    return value
