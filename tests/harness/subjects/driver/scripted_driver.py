"""A driver for tests: its workers are threads. The words after its name say what it does wrong.

Plain Python, started as `python -I scripted_driver.py [WORD ...]`.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from typing import Any

WORDS = set(sys.argv[1:])
COMMANDS = ["echo", "sleep", "put", "get", "ping"]
TOLD = {"protocol": 1, "name": "scripted", "commands": COMMANDS, "call_timeout_s": 9.0}
TOLD |= {"capabilities": ["sessions", "events", "warm_up"], "options": ["overflow"]}
idle: "queue.Queue[int | None]" = queue.Queue()
sessions: dict[str, dict[str, Any]] = {}
running: set[int] = set()
operations: dict[str, int] = {}
lock, closed, config = threading.Lock(), threading.Event(), dict[str, Any]()


def send(message: dict[str, Any]) -> None:
    with lock:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def event(kind: str, worker: int, call: int | None = None) -> None:
    told: dict[str, Any] = {"event": kind, "worker": worker, "pid": os.getpid(), "at_ns": time.monotonic_ns()}
    send(told if call is None else {**told, "call": call})


def error(name: str, text: str) -> dict[str, Any]:
    return {"error": {"name": name, "text": text}}


def serve(message: dict[str, Any], ends: float) -> dict[str, Any]:
    command, args, session = message["command"], message["args"], message.get("session")
    state = {} if session is None else sessions.setdefault(session, {})
    if session is not None:
        operations[session] = operations.get(session, 0) + 1
    if command == "sleep":
        last = min(ends, time.monotonic() + args["seconds"])
        if closed.wait(max(0.0, last - time.monotonic())):
            time.sleep(config["grace_s"])
            return error("PoolClosed", "closed") if last > time.monotonic() else {"ok": {"result": args}}
        return error("CallTimeout", "late") if last >= ends else {"ok": {"result": args}}
    if command == "put":
        state[args["key"]] = args["value"]
    results = {
        "echo": args.get("value", args),
        "put": None,
        "ping": "pong",
        "get": {"value": state.get(args.get("key"))},
    }
    return {"ok": {"result": results[command]}} if command in results else error("CommandError", f"unknown {command}")


def call(message: dict[str, Any]) -> dict[str, Any] | None:
    ends = time.monotonic() + message["timeout_s"]
    if "dies" in WORDS:
        sys.stderr.write("out of luck\n")
        os._exit(3)
    if "hangs" in WORDS:
        return None
    try:
        worker = idle.get(timeout=min(message["timeout_s"], message["checkout_timeout_s"]))
    except queue.Empty:
        return error("CheckoutTimeout", "no worker was free")
    if worker is None:
        idle.put(None)
        return error("PoolClosed", "closed")
    for kind in ("accept", "send"):
        event(kind, worker, message["id"])
    running.add(message["id"])
    reply = serve(message, ends)
    for kind in ("receive", "checkin"):
        event(kind, worker, message["id"])
    idle.put(worker)
    return reply


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    kind = message["type"]
    if kind == "hello":
        wrong: dict[str, Any] = {"protocol": 2} if "protocol" in WORDS else {}
        return {"ok": TOLD | wrong | ({"capabilities": ["magic"]} if "capability" in WORDS else {})}
    if kind == "open":
        config.update(message["config"])
        for worker in range(1, config["workers"] + 1):
            event("spawn", worker)
            idle.put(worker)
        return {"ok": {}}
    if kind == "call":
        return call(message)
    if kind == "end_session":
        return {"ok": {"existed": sessions.pop(message["session"], None) is not None}}
    if kind == "status":
        told = {"pid": os.getpid(), "state": "idle"}
        workers = [{"worker": number, **told} for number in range(1, config["workers"] + 1)]
        return {"ok": {"workers": workers, "sessions": [{"session": s, "operations": operations[s]} for s in sessions]}}
    if kind == "restart":
        sessions.clear()
        return {"ok": {}}
    if kind == "warm_up":
        return {"ok": {"ready": config["workers"]}}
    if kind == "close":
        config["grace_s"] = message["grace_s"]
        closed.set()
        while not idle.empty():
            idle.get()
        idle.put(None)
        while running and "rude" not in WORDS:
            time.sleep(0.01)
        if "leaves" in WORDS:
            subprocess.Popen(["sleep", "60"], start_new_session=True, stdin=-3, stdout=-3, stderr=-3)
        return {"ok": {}}
    return error("InvalidRequest", f"unknown type {kind}")


def take(message: dict[str, Any]) -> None:
    reply = answer(message)
    number = message["id"]
    if message["type"] == "call":
        if "logs" in WORDS:
            sys.stdout.write("INFO a call came\n")
            sys.stdout.flush()
        number += 1000 if "stranger" in WORDS else 0
        if "error" in WORDS:
            reply = error("NoSuchError", "odd")
        if "nothing" in WORDS:
            reply = {"ok": {}}
    for _ in range(2 if "twice" in WORDS and message["type"] == "call" else 1):
        if reply is not None:
            send({"reply_to": number, **reply})
    running.discard(message["id"])


for line in sys.stdin:
    threading.Thread(target=take, args=(json.loads(line),), daemon=True).start()
    while "deaf" in WORDS and '"open"' in line:
        time.sleep(1)
while "stays" in WORDS:
    time.sleep(1)
sys.stdout.flush()
os._exit(0)
