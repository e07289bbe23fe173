"""Credentials that are planted wherever a run has text are in nothing that the run writes or prints."""

from __future__ import annotations

import gzip
import logging
import shlex
import sys
from pathlib import Path

import pytest

from poolproof.harness.cli.app import main

WORKER = """
import os, sys
from poolproof.bridge.worker.handlers import COMMANDS_VARIABLE
os.environ[COMMANDS_VARIABLE] = ",".join(filter(None, [os.environ.get(COMMANDS_VARIABLE, ""), "leaky_commands"]))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from poolproof.bridge.worker.program import run
sys.exit(run(int(sys.argv[2])))
"""
COMMANDS = """
import os, sys
from poolproof.bridge.worker.handlers.context import HandlerError

def tell(_, args):
    sys.stderr.write(f"trying {args['password']} and {os.environ['SERVICE_TOKEN']} at db://me:planted-07-in-a-url@host\\n")
    return {"nonce": args.get("nonce"), "sessionToken": "planted-08-in-a-result", "told": "Bearer planted-09-in-a-text"}

def refuse(_, args):
    token = os.environ["SERVICE_TOKEN"]
    raise HandlerError(f"cannot log in as {args['password']} with {token}; password=planted-10-in-an-error")

def die(_, args):
    token = os.environ["SERVICE_TOKEN"]
    sys.stderr.write(f"dying with {args['password']} and {token}; apiKey: planted-11-in-last-words\\n")
    os._exit(3)

COMMANDS = {"tell": tell, "refuse": refuse, "die": die}
"""
SCENARIO = """
from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, Step

ARGS = {"password": "planted-01-in-args", "api_base": "https://me:planted-02-in-api-base@host/v1",
        "nested": [{"X-Api-Key": "planted-03-nested"}]}
STATE = {"key": "k", "value": {"accessToken": "planted-04-in-a-session"}}
STEPS = [Step(command=command, args=ARGS) for command in ("tell", "refuse", "die", "tell")]
STEPS.insert(0, Step(command="put", args=STATE, session="s"))
LEAKY = Scenario(name="leaky", summary="everything is told", workload=lambda choice, size: (tuple(STEPS),),
                 checkers=(OneOutcome(), *CORE), fixed_size=Size(workers=1, clients=1),
                 config={"env": {"SERVICE_TOKEN": "planted-05-in-env", "DB_URL": "pg://u:planted-12-in-env-url@h/db"}})
"""
PLANTED = b"planted-"


def test_no_planted_credential_is_in_anything_that_a_run_leaves(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    for name, text in (("worker.py", WORKER), ("leaky_commands.py", COMMANDS), ("leaky.py", SCENARIO)):
        Path(name).write_text(text)
    worker = shlex.join([sys.executable, str(Path("worker.py").resolve()), "--worker-id", "{worker_id}"])
    worker += " --api-key planted-06-in-the-command"
    words = ["leaky.py", "--worker-command", worker, "--seed", "1"]
    assert main(["run", *words, "--pool", "v1", "--pool", "v2", "--out", "kept"]) == 1
    told = "".join(capfd.readouterr())
    assert "WorkerCrashed" in told
    for run in Path("kept").glob("leaky-*"):
        assert main(["analyze", str(run), "--import", "leaky.py"]) in (0, 1)
        assert main(["report", str(run)]) in (0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["poolproof", "compare", *words])
        main(["compare", *words, "--explore", "0", "-q", "--out", "both"])
    assert main(["report", "both"]) == 0
    run = next(Path("kept").glob("leaky-v2-*"))
    bounds = ["--repeats", "1", "--max-runs", "4", "--out", "small"]
    assert main(["shrink", str(run), "--import", "leaky.py", "--worker-command", worker, *bounds]) in (0, 3)
    told += "".join(capfd.readouterr()) + caplog.text
    assert PLANTED.decode() not in told
    written = [path for folder in ("kept", "both", "small") for path in Path(folder).rglob("*") if path.is_file()]
    names = {path.name for path in written}
    assert {
        "history.jsonl.gz",
        "run.json",
        "result.json",
        "comparison.json",
        "report.html",
        "report.md",
        "junit.xml",
    } <= names
    data = {path: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in written}
    guilty = {str(path): found.split(PLANTED)[1][:40] for path, found in data.items() if PLANTED in found}
    assert guilty == {}
    assert any(b"[redacted]" in path.read_bytes() for path in written if "stderr" in path.parts)
