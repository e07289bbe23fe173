"""The quick version of the self-check: a handful of mutants of both pools, in processes of their own."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from poolproof.bridge import Observer, Pool, PoolConfig
from poolproof.harness.cli.app import main
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.errors import RecordError
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.command import MARKDOWN_FILE, MATRIX_FILE, read_matrix
from poolproof.harness.mutation.job import BROKEN, NEVER, MutantOrder, Watch, carry_out_drill
from poolproof.harness.mutation.lifecycle_tests.lifecycle_test import Bench, LifecycleTest
from poolproof.harness.run.job import Job, JobOrder
from poolproof.harness.run.runner import Request
from poolproof.harness.subjects.pools import find_pool

CHOSEN = (
    "double_unwrapping",
    "v2.one_worker_too_many",
    "v2.wrong_value_lease",
    "v2.doubled_execution_executor",
    "v2.lost_answer_migrating_canary",
    "v2.swapped_answers_task_many",
)
CHOSEN_KEYS = {"v1.double_unwrapping", "v2.double_unwrapping", *CHOSEN[1:]}


def test_planted_bugs_are_found_in_both_pools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for name in CHOSEN for word in ("--mutant", name)]
    code = main(["selfcheck", "--quiet", "--out", str(tmp_path / "out"), *words])
    shown = capsys.readouterr().out
    matrix = read_matrix(tmp_path / "out" / MATRIX_FILE)
    assert code == 0, shown
    assert matrix.verdict is Verdict.PASS
    assert [row.killed for row in matrix.rows] == [1] * len(CHOSEN_KEYS)
    assert {f"{row.pool}.{row.mutant}" for row in matrix.rows} == CHOSEN_KEYS
    assert all(row.by_its_guarantee for row in matrix.rows)
    assert set(matrix.guarantees["G1"]) == CHOSEN_KEYS - {"v2.one_worker_too_many", "v2.doubled_execution_executor"}
    assert matrix.guarantees["G4"] == ("v2.doubled_execution_executor",)
    assert matrix.fixes == {"double unwrapping": ("v1.double_unwrapping", "v2.double_unwrapping")}
    assert matrix.false_alarms == ()
    assert "false alarms: 0 of" in shown
    text = (tmp_path / "out" / MARKDOWN_FILE).read_text()
    assert r"| v2.double\_unwrapping | G1 | 1/1 | any\_json:own\_answer |" in text
    assert r"| v2.wrong\_value\_lease through lease | G1 | 1/1 | waiting\_echoes:own\_answer |" in text
    assert r"| v2.one\_worker\_too\_many observed | G14 | 1/1 | few\_calls:live\_bound |" in text


def test_an_equivalent_pool_is_not_accused(tmp_path: Path) -> None:
    result = _carry_out("any_json", "v2.stdlib_json", tmp_path)
    assert (result.verdict, result.trouble, result.pool) == (Verdict.PASS, "", "v2.stdlib_json")
    assert not result.observed


def test_a_bug_that_no_call_executes_is_broken_and_no_survivor(tmp_path: Path) -> None:
    result = _carry_out("few_calls", "v2.wrong_value_session", tmp_path)
    assert (result.trouble, result.observed) == (BROKEN + NEVER, False)


def _carry_out(scenario: str, pool: str, out: Path) -> RunResult:
    request = Request(observed=False)
    order = MutantOrder(scenario=scenario, pool=pool, request=request, out=str(out), budget_s=60.0)
    return Job(order, "poolproof.harness.mutation.job").result(90.0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--mutant", "lifo_qeue"], "did you mean 'lifo_queue'"),
        (["--seeds", "0"], "--seeds 0: must be a whole number from 1 to 100"),
        (["--jobs", "65"], "--jobs 65"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selfcheck", *words]) == 2
    errors = capsys.readouterr().err
    assert told in errors
    assert errors.count("\n") == 1


def test_a_matrix_that_is_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / MATRIX_FILE
    with pytest.raises(RecordError, match="cannot read"):
        read_matrix(file)
    file.write_text('{"rows": 3}')
    with pytest.raises(RecordError, match="damaged"):
        read_matrix(file)


def test_a_drill_that_raises_decides_nothing(tmp_path: Path) -> None:
    def act(bench: Bench) -> list[object]:
        raise RuntimeError("unexpected")

    lifecycle_test = LifecycleTest(name="literal", summary="raises", guarantees=(), pools=("v2",), act=act)  # type: ignore[arg-type]
    order = JobOrder(scenario="literal", pool="v2", request=Request(), out=str(tmp_path))
    result = carry_out_drill(lifecycle_test, find_pool("v2"), order, None)
    assert isinstance(result, RunResult)
    assert (result.verdict, result.trouble) == (Verdict.UNKNOWN, "RuntimeError: unexpected")


def test_a_drill_observes_no_pool(tmp_path: Path) -> None:
    asked: list[object] = []

    def make(config: PoolConfig, observer: Observer | None) -> Pool:
        asked.append(observer)
        return find_pool("v2").make(config, observer)

    bench = Bench(msgspec.structs.replace(find_pool("v2"), make=make), "literal", tmp_path, None)
    with closing(bench.make(workers=1)) as pool:
        assert pool.execute("echo", {"value": 1}, timeout_s=30.0) == 1
    assert asked == [None]
    assert (bench.served("echo"), bench.served("sleep")) == (1, 0)


def test_only_what_planted_code_itself_gets_wrong_makes_a_mutant_broken() -> None:
    source = "def bad():\n    None.x\ndef late():\n    raise TimeoutError\n"
    import poolproof.harness.mutation as package

    here = str(Path(package.__file__ or "").with_name("planted.py"))
    planted: dict[str, object] = {}
    exec(compile(source, here, "exec"), planted)
    logger = logging.getLogger("poolproof.test")

    def log(call: object) -> None:
        try:
            call()  # type: ignore[operator]
        except Exception:
            logger.exception("as planned")

    with Watch() as watch:
        log(planted["late"])
        log(lambda: int("x"))
        log(lambda: None.x)  # type: ignore[attr-defined]
        assert watch.found == ""
        log(planted["bad"])
        assert "AttributeError" in watch.found
    assert not any(isinstance(handler, Watch) for handler in logging.getLogger().handlers)
    assert threading.excepthook is not watch._in_thread
