"""One suite of program calls on three backends: without a process, over a checked wire, and with the shipped worker."""

from __future__ import annotations

import pytest

from poolproof.bridge import CommandError, WorkerCrashed
from poolproof.bridge.dspy.adapter import DSPY_ENVIRONMENT, ProgramAdapter

SIGNATURE = {
    "inputs": [{"name": "question", "type": "str", "description": "what is asked"}],
    "outputs": [{"name": "answer"}],
    "instructions": "Answer.",
}
ASKED = {"question": "why?"}
ANSWERS = {"why?": {"answer": "because"}}


def test_a_model_is_configured_for_the_session(adapter: ProgramAdapter) -> None:
    told = adapter.configure_lm("openai/some", provider="openai", temperature=0.25)
    assert (told.status, told.model, told.provider, told.temperature) == ("configured", "openai/some", "openai", 0.25)


@pytest.mark.parametrize("kind", ["predict", "chain_of_thought", "react"])
def test_a_program_lives_from_its_creation_to_its_deletion(adapter: ProgramAdapter, kind: str) -> None:
    created = adapter.create_program("p", SIGNATURE, program_type=kind)
    assert (created.program_id, created.status, created.program_type) == ("p", "created", kind)
    assert (created.signature.inputs, created.signature.outputs) == (("question",), ("answer",))
    assert adapter.list_programs().programs == ("p",)
    first = adapter.execute_program("p", ASKED)
    assert first.execution_time >= 0
    assert ("reasoning" in first.outputs) is (kind == "chain_of_thought")
    assert adapter.execute_program("p", ASKED).outputs == first.outputs
    info = adapter.get_program_info("p")
    assert (info.execution_count, info.program_type) == (2, kind)
    assert info.fields["inputs"] == [{"name": "question", "type": "str", "description": "what is asked"}]
    assert info.fields["instructions"] == "Answer."
    assert adapter.delete_program("p").status == "deleted"
    assert adapter.list_programs().total_count == 0


def test_a_signature_may_be_a_string(adapter: ProgramAdapter) -> None:
    adapter.create_program("p", "question, notes: list[str] -> answer: float")
    fields = adapter.get_program_info("p").fields
    assert [field["type"] for field in (*fields["inputs"], *fields["outputs"])] == ["str", "list[str]", "float"]


def test_sessions_share_no_program(adapter: ProgramAdapter) -> None:
    other = adapter.session_adapter(f"{adapter.session_id}-other")
    adapter.create_program("p", SIGNATURE)
    with pytest.raises(CommandError, match="program 'p' is not found"):
        other.execute_program("p", ASKED)
    assert other.list_programs().programs == ()
    assert {session.session_id for session in adapter.pool.sessions()} == {adapter.session_id, other.session_id}


def test_what_is_wrong_is_an_error_that_names_it(adapter: ProgramAdapter) -> None:
    adapter.create_program("p", SIGNATURE)
    with pytest.raises(CommandError, match="program 'p' exists already"):
        adapter.create_program("p", SIGNATURE)
    with pytest.raises(CommandError, match="program 'p' needs the input 'question'"):
        adapter.execute_program("p", {"query": "why?"})
    with pytest.raises(CommandError, match="program 'q' is not found"):
        adapter.delete_program("q")
    with pytest.raises(CommandError, match="one of predict, chain_of_thought, react, not 'guess'"):
        adapter.create_program("q", SIGNATURE, program_type="guess")
    with pytest.raises(CommandError, match="argument 'temperature': must be a number from 0 to 2"):
        adapter.configure_lm("openai/some", temperature=3.0)


def test_health_and_statistics_are_those_of_the_pool_and_a_worker(adapter: ProgramAdapter) -> None:
    adapter.create_program("p", SIGNATURE)
    with pytest.raises(CommandError):
        adapter.execute_program("q", ASKED)
    statistics = adapter.get_stats()
    assert (statistics.worker.programs_count, statistics.worker.error_count) == (1, 1)
    assert statistics.worker.command_count >= 3
    assert statistics.pool.statistics.outcomes == {"result": 2, "CommandError": 1}
    assert statistics.worker.dspy_available is False
    adapter.pool.warm_up()
    assert adapter.health_check().healthy


# Nothing leaks: each of these two would fail if the other's configuration were still there.


@pytest.mark.parametrize("mine", ["one", "two"])
def test_a_test_meets_no_program_and_no_model_of_another(adapter: ProgramAdapter, mine: str) -> None:
    assert adapter.list_programs().programs == ()
    assert adapter.pool.execute("get_stats")["programs_count"] == 0
    adapter.configure_lm(f"openai/{mine}")
    adapter.create_program(mine, SIGNATURE)
    shared = ProgramAdapter(adapter.pool)
    assert shared.list_programs().programs == ()
    shared.create_program("shared", SIGNATURE)


# What only some backends can show.

SCRIPT = (
    {"command": "execute_program", "args": {"program_id": "p"}, "error": "out of tokens", "times": 1},
    {"command": "execute_program", "answer": {"program_id": "p", "outputs": {"answer": 42}, "execution_time": 0.5}},
)


@pytest.mark.backends("mock", "wire", script=SCRIPT)
@pytest.mark.pool_options(workers=1)
def test_a_script_says_what_is_answered(adapter: ProgramAdapter) -> None:
    with pytest.raises(CommandError, match="out of tokens"):
        adapter.execute_program("p", ASKED)
    assert adapter.execute_program("p", ASKED).outputs == {"answer": 42}


@pytest.mark.backends("wire")
def test_every_frame_is_checked(adapter: ProgramAdapter) -> None:
    with pytest.raises(WorkerCrashed, match="has the session_id 5"):
        adapter.pool.execute("ping", {"session_id": 5})


@pytest.mark.backends("wire", "real")
def test_the_programs_of_a_session_are_on_one_worker_at_least(adapter: ProgramAdapter) -> None:
    adapter.create_program("p", SIGNATURE)
    for _ in range(4):
        adapter.execute_program("p", ASKED)
    [session] = adapter.pool.sessions()
    assert session.operations == 5
    assert session.worker_id is not None


@pytest.mark.backends("real", packages=("dspy",))
@pytest.mark.pool_options(workers=1)
def test_real_programs_are_run_by_dspy(adapter: ProgramAdapter) -> None:
    other = adapter.session_adapter("other")
    adapter.configure_lm("dummy", answers=ANSWERS)
    other.configure_lm("dummy", answers={"why?": {"answer": "who knows"}})
    for one, answer in ((adapter, "because"), (other, "who knows")):
        one.create_program("p", SIGNATURE)
        assert one.execute_program("p", ASKED).outputs == {"answer": answer}
    assert adapter.get_stats().worker.dspy_available is True


def test_the_environment_that_asks_for_dspy_is_the_workers() -> None:
    assert DSPY_ENVIRONMENT == {"POOLPROOF_PROGRAMS": "dspy"}
