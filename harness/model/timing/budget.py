"""Budgets: limits in a small grammar, such as "v2.p99 / v1.p99 < 1.10 @95%": a parser that names columns, and a judge.

Pure. A metric without data makes the result UNKNOWN, never a pass.

    budget   = sum ("<" | "<=" | ">" | ">=") sum ["@" number "%"]
    sum      = product {("+" | "-") product}
    product  = factor {("*" | "/") factor}
    factor   = number [unit] | pool "." metric | "(" sum ")"
    unit     = one of us ms s min h B kB MB GB KiB MiB GiB %, or none; with or without "/s", "/min" or "/h"

`pool` is a pool's name in the bench, or `baseline` or `candidate`. Both sides of a budget must be of the same kind.
Without "@" the measured values are compared. With "@95%" the budget passes if it holds in 95 % of the resampled
benches, fails if it does not hold in 95 % of them, and is UNKNOWN in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from poolproof.harness.bench.statistics.figures import BudgetResult
from poolproof.harness.bench.statistics.metrics import NUMBER, UNITS, Unit, nearest
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Verdict

TIMES = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?P<unit>(?:\s?(?:[A-Za-zµ]+\b(?!\.)|%))?(?:/(?:s|min|h)\b)?)"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\.\d+)?)|(?P<mark><=|>=|<|>|[-+*/()@]))"
)
COMPARISONS = ("<", "<=", ">", ">=")
ALIASES = ("baseline", "candidate")
LONGEST = 400


class BudgetError(UsageError):
    """The text of a budget cannot be parsed; the message names the column."""


class Number(msgspec.Struct, frozen=True):
    """A number in a budget; in seconds or bytes if the text gives a unit."""

    value: float


class Name(msgspec.Struct, frozen=True):
    """A metric of a pool."""

    pool: str
    metric: str


class Operation(msgspec.Struct, frozen=True):
    """An arithmetic operation (+, -, * or /) on two operands."""

    mark: str
    left: Expression
    right: Expression


Expression = Number | Name | Operation


class Budget(msgspec.Struct, frozen=True):
    """A parsed budget. `level` is a share from 0 to 1, or None if the measured values are compared."""

    text: str
    left: Expression
    mark: str
    right: Expression
    level: float | None

    @property
    def metrics(self) -> frozenset[str]:
        """Return the metrics that either side uses."""
        return frozenset(name.metric for name in (*_names(self.left), *_names(self.right)))


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    column: int
    unit: str = ""


def parse_budget(text: str, pools: Collection[str] | None = None) -> Budget:
    """Parse the text of a budget. Raises BudgetError, whose message shows the text with a mark under the column.

    `pools` are the pool names that are allowed beside `baseline` and `candidate`; None allows any name.
    """
    return _Parser(text, pools).parse()


class _Parser:
    """A recursive-descent parser with one method for each line of the grammar."""

    def __init__(self, text: str, pools: Collection[str] | None) -> None:
        self._text = text
        self._pools = pools
        if len(text) > LONGEST or "\n" in text:
            raise BudgetError(f"a budget of {len(text)} characters: expected one line of at most {LONGEST} characters")
        self._tokens = self._split()
        self._place = 0

    def parse(self) -> Budget:
        left, left_unit = self._sum()
        mark = self._next()
        if mark.text not in COMPARISONS:
            raise self._error(f"one of {' '.join(COMPARISONS)} is expected", mark.column)
        right, right_unit = self._sum()
        if left_unit != right_unit:
            raise self._error(f"{left_unit} cannot be compared with {right_unit}", mark.column)
        level = self._level() if self._peek().text == "@" else None
        end = self._next()
        if end.kind != "end":
            raise self._error(f"expected the end of the budget, not {end.text!r}", end.column)
        if not _names(left) and not _names(right):
            raise self._error("a budget needs a metric of a pool, such as v2.p99", 1)
        return Budget(self._text, left, mark.text, right, level)

    def _level(self) -> float:
        self._next()
        token = self._next()
        if token.kind != "number" or token.unit != "%" or not 50 < float(token.text) < 100:
            raise self._error("a confidence above 50% and below 100% is expected, such as @95%", token.column)
        return float(token.text) / 100

    def _sum(self) -> tuple[Expression, Unit]:
        left, unit = self._product()
        while self._peek().text in ("+", "-"):
            mark = self._next()
            right, other = self._product()
            if unit != other:
                word = "added to" if mark.text == "+" else "taken from"
                raise self._error(f"{other} cannot be {word} {unit}", mark.column)
            left = Operation(mark.text, left, right)
        return left, unit

    def _product(self) -> tuple[Expression, Unit]:
        left, unit = self._factor()
        while self._peek().text in ("*", "/"):
            mark = self._next()
            right, other = self._factor()
            sign = 1 if mark.text == "*" else -1
            unit = Unit(unit.seconds + sign * other.seconds, unit.size + sign * other.size)
            left = Operation(mark.text, left, right)
        return left, unit

    def _factor(self) -> tuple[Expression, Unit]:
        token = self._next()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "name":
            pool, _, metric = token.text.partition(".")
            if not metric:
                raise self._error(f"{token.text!r} lacks its metric, such as {token.text}.p99", token.column)
            if metric not in UNITS:
                raise self._error(f"there is no metric {metric!r}{nearest(metric)}", token.column + len(pool) + 1)
            if self._pools is not None and pool not in (*self._pools, *ALIASES):
                there = ", ".join((*self._pools, *ALIASES))
                raise self._error(f"there is no pool {pool!r} in this bench; there are {there}", token.column)
            return Name(pool, metric), UNITS[metric]
        if token.text == "(":
            inner = self._sum()
            close = self._next()
            if close.text != ")":
                raise self._error("')' is expected", close.column)
            return inner
        raise self._error("a number, a metric such as v2.p99, or '(' is expected", token.column)

    def _number(self, token: _Token) -> tuple[Number, Unit]:
        value, unit = float(token.text), NUMBER
        word, _, per = token.unit.partition("/")
        if word == "%":
            value /= 100
        elif word in TIMES:
            value, unit = value * TIMES[word], Unit(1)
        elif word in SIZES:
            value, unit = value * SIZES[word], Unit(0, 1)
        elif word:
            known = ", ".join((*TIMES, *SIZES, "%"))
            raise self._error(f"there is no unit {word!r}; there are {known}", token.column + len(token.text))
        if per:
            value, unit = value / TIMES[per], Unit(unit.seconds - 1, unit.size)
        return Number(value), unit

    def _split(self) -> list[_Token]:
        found, place = [], 0
        text = self._text.rstrip()
        while place < len(text):
            match = TOKEN.match(text, place)
            if match is None:
                start = place + len(text[place:]) - len(text[place:].lstrip())
                raise self._error(f"{text[start]!r} is not expected", start + 1)
            kind = match.lastgroup if match.lastgroup != "unit" else "number"
            assert kind is not None
            found.append(_Token(kind, match[kind], match.start(kind) + 1, (match["unit"] or "").strip()))
            place = match.end()
        return [*found, _Token("end", "", len(text) + 1)]

    def _peek(self) -> _Token:
        return self._tokens[self._place]

    def _next(self) -> _Token:
        token = self._tokens[self._place]
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return token

    def _error(self, what: str, column: int) -> BudgetError:
        return BudgetError(f"a budget: column {column}: {what}\n  {self._text}\n  {' ' * (column - 1)}^")


def _names(expression: Expression) -> list[Name]:
    match expression:
        case Name():
            return [expression]
        case Operation():
            return _names(expression.left) + _names(expression.right)
        case Number():
            return []


class Unmeasured(Exception):
    """A metric has no value in this bench; the message names the metric and the reason."""


Look = Callable[[str, str], tuple[float, Any]]
"""A function (pool, metric) that returns the metric's value and its resampled values (an array, or the value itself).

Raises Unmeasured if the metric has no value.
"""


def judge_budget(budget: Budget, look: Look) -> BudgetResult:
    """Judge the budget by the values of a bench, which `look` returns."""
    try:
        left, lefts = _evaluate(budget.left, look)
        right, rights = _evaluate(budget.right, look)
    except Unmeasured as error:
        return BudgetResult(text=budget.text, verdict=Verdict.UNKNOWN, why=str(error))
    except ZeroDivisionError:
        return BudgetResult(text=budget.text, verdict=Verdict.UNKNOWN, why="it divides by 0")
    if left != left or right != right:
        return BudgetResult(text=budget.text, verdict=Verdict.UNKNOWN, why="it divides by 0")
    if budget.level is None:
        verdict = Verdict.PASS if _holds(left, budget.mark, right) else Verdict.FAIL
        return BudgetResult(text=budget.text, verdict=verdict, left=left, right=right)
    held = _holds(lefts, budget.mark, rights)
    share = float(held.mean()) if hasattr(held, "mean") else float(held)
    verdict, why = (
        Verdict.UNKNOWN,
        f"the budget holds in {share:.0%} of the resampled measurements; more rounds may settle it",
    )
    if share >= budget.level:
        verdict, why = Verdict.PASS, ""
    elif share <= 1 - budget.level:
        verdict, why = Verdict.FAIL, ""
    return BudgetResult(text=budget.text, verdict=verdict, left=left, right=right, share=share, why=why)


def _evaluate(expression: Expression, look: Look) -> tuple[float, Any]:
    match expression:
        case Number(value):
            return value, value
        case Name(pool, metric):
            return look(pool, metric)
        case Operation(mark, left, right):
            (one, ones), (other, others) = _evaluate(left, look), _evaluate(right, look)
            return _apply(mark, one, other), _apply(mark, ones, others)


def _apply(mark: str, left: Any, right: Any) -> Any:  # noqa: ANN401 - a number or an array of them
    match mark:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right


def _holds(left: Any, mark: str, right: Any) -> Any:  # noqa: ANN401 - a number or an array of them
    match mark:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case _:
            return left >= right
