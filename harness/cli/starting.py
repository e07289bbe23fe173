"""The files that `poolproof init` writes, by the kind of the pools. Each set is complete: it runs as it is written.

Pure: texts in, texts out.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from poolproof.harness.model.errors import UsageError

CI = ".github/workflows/poolproof.yml"


class Kind(StrEnum):
    """The kind of the user's pools: executors, coroutines, callables or HTTP services."""

    EXECUTOR = "executor"
    ASYNC = "async"
    CALLABLE = "callable"
    HTTP = "http"


MEANINGS = {
    Kind.EXECUTOR: "a concurrent.futures.Executor, or a pool of multiprocessing, loky or pebble",
    Kind.ASYNC: "a coroutine function, or a class with one",
    Kind.CALLABLE: "a function call(command, args, session=None), or a class with such a method",
    Kind.HTTP: "a service that answers JSON",
}


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """The user's answers. `old` and `new` are module:name, or URLs of services; if empty, an example is written.

    `functions` are the functions that an executor runs, as module:name. `old_start` and `new_start` are the command
    lines of services, and `health` is the path that a healthy service answers.
    """

    kind: Kind
    old: str = ""
    new: str = ""
    functions: tuple[str, ...] = ()
    old_start: str = ""
    new_start: str = ""
    health: str = "/health"

    def __post_init__(self) -> None:
        if bool(self.old) != bool(self.new):
            raise UsageError("--old and --new belong together: give both, or neither for an example")
        if self.kind is Kind.EXECUTOR and self.old and not self.functions:
            raise UsageError("an executor needs --function module:name, which is what its workers are to run")
        if self.kind is not Kind.HTTP:
            for word in (self.old, self.new, *self.functions):
                if word:
                    _split(word)


def files_for(answers: Answers) -> dict[str, str]:
    """Return the files by their paths below the folder."""
    example = not answers.old
    return {
        **(EXAMPLES[answers.kind] if example else {}),
        "pools.py": EXAMPLE_POOLS[answers.kind] if example else _pools(answers),
        "calls.py": EXAMPLE_CALLS if example else _calls(answers),
        "scenario.py": SCENARIO if example else SCENARIO.replace('"summarize"', repr(_first_command(answers))),
        "test_pools.py": TESTS,
        CI: WORKFLOW,
    }


def _pools(answers: Answers) -> str:
    if answers.kind is Kind.HTTP:
        old, new = (
            _http(url, start, answers.health)
            for url, start in ((answers.old, answers.old_start), (answers.new, answers.new_start))
        )
        return f"{HEAD}from poolproof import http_pool\n\nOld = {old}\nNew = {new}\n"
    names = [_split(word) for word in (answers.old, answers.new)]
    functions = [_split(word) for word in answers.functions]
    imports = "".join(f"import {module}\n" for module in sorted({module for module, _ in names + functions}))
    maker = f"{answers.kind}_pool"
    ran = "".join(f", {module}.{name}" for module, name in functions)
    (old, old_name), (new, new_name) = names
    return (
        f"{HEAD}{imports}from poolproof import {maker}\n\n"
        f"Old = {maker}({old}.{old_name}{ran})\nNew = {maker}({new}.{new_name}{ran})\n"
    )


def _http(url: str, start: str, health: str) -> str:
    asked = url if "{command}" in url else f"{url.rstrip('/')}/{{command}}"
    base = "/".join(asked.split("/")[:3])
    more = f", start={start!r}, health={base + health!r}" if start else ""
    return f"http_pool({asked!r}{more})"


def _first_command(answers: Answers) -> str:
    return _split(answers.functions[0])[1] if answers.functions else "your_command"


def _calls(answers: Answers) -> str:
    return OWN_CALLS.replace("your_command", _first_command(answers))


def _split(word: str) -> tuple[str, str]:
    module, colon, name = word.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise UsageError(f"{word!r}: module:name is needed, such as my_package.pools:NewPool")
    return module, name


HEAD = '"""The two pools to compare: the one in use, and the one that is to replace it."""\n\n'
OWN_CALLS = '''"""Your calls by role: which is quick, which waits, which fails, which keeps a session."""

from poolproof import Calls, call

CALLS = Calls(
    quick=call(
        "your_command",
        lambda n: {},  # the arguments of call number n: let each call be another one
        # matches=lambda request, answer: answer["id"] == request["id"],  # proves that an answer is the request's own
    ),
    # slow=call(...), fails=call(...), large=call(...), once=call(...),
    # stateful=call("add", lambda n: {"value": n}, expects=lambda requests: [each["value"] for each in requests]),
    calls=1000,
)
'''
EXAMPLE_CALLS = '''"""Your calls by role: which of your commands is quick, which waits, which fails."""

from poolproof import Calls, call

CALLS = Calls(
    quick=call(
        "summarize",
        lambda n: {"document": f"text {n}"},
        matches=lambda request, answer: answer["summary"] == request["document"].upper(),
    ),
    slow=call("wait", lambda n: {"seconds": 0.05, "tag": n}, matches=lambda request, answer: answer == request["tag"]),
    fails=call("refuse", lambda n: {"number": n}, matches=lambda request, error: str(request["number"]) in error),
    calls=1000,
)
'''
SCENARIO = '''"""A scenario of your own, beside those that calls.py stands for: `poolproof compare scenario.py …`."""

from poolproof import Scenario
from poolproof.harness.checkers import NothingLeft
from poolproof.harness.checkers.roles import Answered
from poolproof.harness.model.workload import steady
from calls import CALLS

BURST = Scenario(
    name="burst",
    summary="the same quick call, as often as the clients can make it",
    workload=steady("summarize", CALLS.quick.request(0), calls=20, label="quick", verbatim=True),
    checkers=(Answered(role="quick"), NothingLeft()),
    commands=(),
)
'''
TESTS = '''"""Each scenario over your calls is a test of the new pool: `pytest test_pools.py`."""

from poolproof import conformance_tests

test_new_pool = conformance_tests("pools:New", scenarios=["calls.py", "scenario.py"])
'''
WORKFLOW = """name: poolproof
on: [push, pull_request]
jobs:
  compare:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install 'poolproof[harness]'
      - run: poolproof compare calls.py scenario.py --baseline pools:Old --candidate pools:New --out out
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: poolproof
          path: out
"""
WORK = '''"""What the workers run. Put your own functions in their place."""

import time


def summarize(document):
    return {"summary": document.upper()}


def wait(seconds, tag):
    time.sleep(seconds)
    return tag


def refuse(number):
    raise ValueError(f"number {number} is refused")
'''
CLIENTS = {
    Kind.ASYNC: '''"""The clients of the old and the new pool: an example to put your own in place of."""

import asyncio

import work


class Client:
    def __init__(self, workers):
        self.free = asyncio.Semaphore(workers)

    async def call(self, command, args):
        async with self.free:
            return await asyncio.to_thread(getattr(work, command), **args)


class NewClient(Client):
    pass
''',
    Kind.CALLABLE: '''"""The clients of the old and the new pool: an example to put your own in place of."""

from concurrent.futures import ThreadPoolExecutor

import work


class Client:
    def __init__(self, workers):
        self.threads = ThreadPoolExecutor(workers)

    def call(self, command, args, session=None):
        return self.threads.submit(getattr(work, command), **args).result()

    def close(self):
        self.threads.shutdown()


class NewClient(Client):
    pass
''',
}
SERVICE = '''"""An example service; put your own in its place. Usage: python service.py PORT"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import work


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, {"healthy": True})

    def do_POST(self):
        args = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.answer(200, getattr(work, self.path.strip("/"))(**args))
        except ValueError as error:
            self.answer(422, {"error": str(error)})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
'''
EXAMPLES: dict[Kind, dict[str, str]] = {
    Kind.EXECUTOR: {"work.py": WORK},
    Kind.ASYNC: {"work.py": WORK, "clients.py": CLIENTS[Kind.ASYNC]},
    Kind.CALLABLE: {"work.py": WORK, "clients.py": CLIENTS[Kind.CALLABLE]},
    Kind.HTTP: {"work.py": WORK, "service.py": SERVICE},
}
EXAMPLE_POOLS: dict[Kind, str] = {
    Kind.EXECUTOR: f"""{HEAD}from concurrent.futures import ThreadPoolExecutor

from poolproof import executor_pool
from work import refuse, summarize, wait

Old = executor_pool(ThreadPoolExecutor, summarize, wait, refuse)
New = executor_pool(ThreadPoolExecutor, summarize, wait, refuse)
""",
    Kind.ASYNC: f"""{HEAD}from clients import Client, NewClient
from poolproof import async_pool

Old = async_pool(Client)
New = async_pool(NewClient)
""",
    Kind.CALLABLE: f"""{HEAD}from clients import Client, NewClient
from poolproof import callable_pool

Old = callable_pool(Client)
New = callable_pool(NewClient)
""",
    Kind.HTTP: f"""{HEAD}import sys

from poolproof import http_pool

START = f"{{sys.executable}} service.py {{{{port}}}}"
HEALTH = "http://127.0.0.1:{{port}}/health"
Old = http_pool("http://127.0.0.1:{{port}}/{{command}}", start=START, health=HEALTH)
New = http_pool("http://127.0.0.1:{{port}}/{{command}}", start=START, health=HEALTH)
""",
}
