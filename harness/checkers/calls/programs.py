"""Checks that each program ran with the model of its own session."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from poolproof.harness.history.history import History, Op, OpType
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

COMMANDS = frozenset({"configure_lm", "create_program", "delete_program", "execute_program"})
NOT_OF_THE_MODEL = frozenset({"nonce", "session_id"})


class OwnModel(msgspec.Struct, frozen=True, kw_only=True):
    """Equal programs with equal inputs give equal outputs under one model, and others under another (G17, G18).

    The checker replays each session's model and programs in the order of its calls; the answers of the models must be a
    function of the model's name and the prompt. After a call whose effect is unknown, nothing of the session is judged.
    """

    name: str = "own_model"
    guarantees: tuple[str, ...] = ("G17", "G18")

    def check(self, history: History) -> Finding:
        """Judge the run by the executions of all sessions."""
        said: dict[tuple[bytes, bytes], dict[bytes, list[Op]]] = defaultdict(lambda: defaultdict(list))
        by_session: dict[str, list[Op]] = defaultdict(list)
        for op in history.ops:
            if op.session is not None and op.command in COMMANDS:
                by_session[op.session].append(op)
        for ops in by_session.values():
            for asked, model, op in _executions(sorted(ops, key=lambda op: op.invoked_ns)):
                said[asked, model][_bytes(op.value["outputs"])].append(op)
        wrong = [
            f"call {ops[0].index} and call {others[0].index} asked the same question of the same model, but got "
            "different outputs"
            for answers in said.values()
            for ops, others in [list(answers.values())[:2]] * (len(answers) > 1)
        ]
        by_question: dict[bytes, list[tuple[bytes, Op]]] = defaultdict(list)
        for (asked, _), answers in said.items():
            by_question[asked] += [(output, ops[0]) for output, ops in answers.items()]
        for answered in by_question.values():
            seen: dict[bytes, Op] = {}
            for output, op in answered:
                if output in seen:
                    wrong.append(
                        f"call {seen[output].index} and call {op.index} asked different models, but got the same answer"
                    )
                seen[output] = op
        executed = sum(len(ops) for answers in said.values() for ops in answers.values())
        if wrong:
            return finding(
                self, Verdict.FAIL, f"{len(wrong)} answers did not come from the model of their session", examples=wrong
            )
        if not executed:
            return finding(self, Verdict.UNKNOWN, "no program was executed")
        models = len({model for _, model in said})
        claim = (
            f"{executed} executions in {len(by_session)} sessions were each answered by the model of their "
            f"session; there were {models} models"
        )
        return finding(self, Verdict.PASS, claim, figures={"executions": executed, "models": models})


def _executions(ops: list[Op]) -> list[tuple[bytes, bytes, Op]]:
    # Yields (what was asked, of which model, the execution) as long as the session's state is known.
    model: bytes | None = None
    programs: dict[str, bytes] = {}
    found = []
    for op in ops:
        if op.type is OpType.INFO and op.command != "execute_program":
            break
        if op.type is not OpType.OK:
            continue
        match op.command:
            case "configure_lm":
                model = _bytes({name: value for name, value in op.args.items() if name not in NOT_OF_THE_MODEL})
            case "create_program":
                args = {name: op.args.get(name) for name in ("signature", "program_type", "tools", "max_iters")}
                programs[str(op.args.get("id"))] = _bytes(args)
            case "delete_program":
                programs.pop(str(op.args.get("program_id")), None)
            case _:
                program = programs.get(str(op.args.get("program_id")))
                if program is not None and model is not None and isinstance(op.value, dict):
                    found.append((program + _bytes(op.args.get("inputs")), model, op))
    return found


def _bytes(value: Any) -> bytes:  # noqa: ANN401 - any JSON
    return msgspec.json.encode(value, order="sorted")
