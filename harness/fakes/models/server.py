"""The program of the model server: OpenAI's chat completions on loopback, until standard input ends.

It prints its port in the first line on standard output. Every line on standard input is a JSON object {"outage": name
or null}, which takes effect before it is acknowledged. Requests, keys included, are neither kept nor printed.
Usage: `python -m poolproof.harness.fakes.models.server`, with a ModelService as JSON in the first line.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from poolproof.bridge.processes.interpreter import adopt
from poolproof.harness.fakes.models.answers import answer, as_prompt
from poolproof.harness.fakes.models.service import Fate, ModelService, Outage, decide

PATH = "/v1/chat/completions"
PARTS = 8
REASONS = {429: "rate_limit_exceeded", 401: "invalid_api_key"}


class Server(ThreadingHTTPServer):
    """Serves each connection in a thread of its own."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, service: ModelService) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.service = service
        self.outage: Outage | None = None
        self.lock = threading.Lock()
        self.counts = {"requests": 0, "answered": 0, "failed": 0, "in_flight": 0, "most_in_flight": 0}

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Ignore a client that has disconnected; print the type of any other error, without the request."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            sys.stderr.write(f"model server: {type(error).__name__}\n")

    def count(self, name: str, change: int = 1) -> None:
        """Change a count."""
        with self.lock:
            self.counts[name] += change
            self.counts["most_in_flight"] = max(self.counts["most_in_flight"], self.counts["in_flight"])


class Handler(BaseHTTPRequestHandler):
    """Serves one connection."""

    protocol_version = "HTTP/1.1"
    server: Server
    disable_nagle_algorithm = True
    wbufsize = -1  # buffered, so that an answer is one packet

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer with the counts."""
        if self.path != "/stats":
            self._fail(404, f"there is no {self.path}")
            return
        with self.server.lock:
            counts = dict(self.server.counts)
        self._send(200, counts)

    def do_POST(self) -> None:
        """Answer a chat completion."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != PATH:
            self._fail(404, f"there is no {self.path}")
            return
        self.server.count("requests")
        self.server.count("in_flight")
        try:
            self._complete(body)
        finally:
            self.server.count("in_flight", -1)

    def _complete(self, body: bytes) -> None:
        key, given = self.server.service.key, self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            request = json.loads(body)
            model, messages = request["model"], request["messages"]
            prompt = as_prompt(messages)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._fail(400, "a JSON object with model and messages is needed")
            return
        if key and given != key:
            self._fail(401, f"Incorrect API key provided: {given}")  # providers too repeat at least a part of the key
            return
        fate = decide(self.server.service, model, prompt, self.server.outage)
        if fate.ending:
            self._end_badly(fate)
            return
        time.sleep(fate.latency_s)
        if fate.status != 200:
            self._fail(fate.status, f"the loopback model answers {fate.status}, as it was told to")
            return
        self.server.count("answered")
        text = answer(model, messages)
        if request.get("stream"):
            self._stream(model, text)
        else:
            self._send(200, _completion(model, prompt, text))

    def _end_badly(self, fate: Fate) -> None:
        self.server.count("failed")
        self.close_connection = True
        if fate.ending == Outage.HANG:
            select.select([self.connection], [], [])  # until the client gives up
        self.connection.shutdown(socket.SHUT_RDWR)

    def _stream(self, model: str, text: str) -> None:
        size = max(1, -(-len(text) // PARTS))
        pieces = [{"content": text[start : start + size]} for start in range(0, len(text), size)]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number, delta in enumerate([{"role": "assistant", "content": ""}, *pieces, {}]):
            reason = "stop" if number > len(pieces) else None
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            chunk = {"id": "loopback", "object": "chat.completion.chunk", "created": 0, "model": model}
            self.wfile.write(b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n")
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _fail(self, status: int, why: str) -> None:
        self.server.count("failed")
        code = REASONS.get(status)
        self._send(status, {"error": {"message": why, "type": code or "loopback_error", "code": code}})

    def _send(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _completion(model: str, prompt: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    spent = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
    return {
        "id": "loopback",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {**spent, "total_tokens": sum(spent.values())},
    }


def main() -> int:
    """Serve until standard input ends; return the exit status."""
    service = msgspec.json.decode(sys.stdin.buffer.readline(), type=ModelService)
    server = Server(service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _tell(server.server_address[1])
    for line in sys.stdin.buffer:
        told = json.loads(line)["outage"]
        server.outage = None if told is None else Outage(told)
        _tell(told)
    return 0


def _tell(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    adopt()
    sys.exit(main())
