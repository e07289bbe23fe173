"""A driver in Python: a checkout pool of processes that have commands of their own. See docs/reference/driver.md."""

import json
import queue
import sys
import threading
import time
from multiprocessing import get_context

COMMANDS = {
    "ping": lambda args: {"status": "ok"},
    "echo": lambda args: args.get("value", args),
    "sleep": lambda args: time.sleep(args["seconds"]) or args,
}
SELF = {"protocol": 1, "name": "pipes", "commands": list(COMMANDS), "capabilities": []}
idle, workers, writing, closed = queue.Queue(), [], threading.Lock(), threading.Event()


def serve(pipe):
    for command, args in iter(pipe.recv, None):
        try:
            pipe.send({"ok": {"result": COMMANDS[command](args)}})
        except Exception as problem:
            pipe.send(error("CommandError", f"{command}: {problem!r}"))


def error(name, text):
    return {"error": {"name": name, "text": text}}


def start_worker():
    spawn = get_context("spawn")
    pipe, other = spawn.Pipe()
    process = spawn.Process(target=serve, args=(other,), daemon=True)
    process.start()
    other.close()
    workers.append(process)
    idle.put((process, pipe))


def call(message):
    ends = time.monotonic() + message["timeout_s"]
    try:
        worker = idle.get(timeout=min(message["timeout_s"], message["checkout_timeout_s"]))
    except queue.Empty:
        return error("CheckoutTimeout", "no worker was free in time")
    if worker is None:
        idle.put(None)  # for the next call that waits
        return error("PoolClosed", "the pool is closed")
    process, pipe = worker
    name = "CallTimeout"
    try:
        pipe.send((message["command"], message["args"]))
        if pipe.poll(max(0, ends - time.monotonic())):
            reply = pipe.recv()
            idle.put(worker)
            return reply
    except (EOFError, OSError):
        name = "PoolClosed" if closed.is_set() else "WorkerCrashed"
    process.kill()
    if not closed.is_set():
        start_worker()
    return {"error": {"name": name, "text": f"process {process.pid} did not answer", "sent": "yes"}}


def close(grace_s):
    closed.set()
    idle.put(None)
    ends = time.monotonic() + grace_s
    while idle.qsize() <= sum(process.is_alive() for process in workers) and time.monotonic() < ends:
        time.sleep(0.01)  # the calls that run have until then
    for process in workers:
        process.kill()


def answer(message):
    match message["type"]:
        case "hello":
            reply = {"ok": SELF}
        case "open":
            for _ in range(message["config"]["workers"]):
                start_worker()
            reply = {"ok": {}}
        case "call":
            reply = call(message)
        case "status":
            reply = {"ok": {"live": sum(process.is_alive() for process in workers)}}
        case "close":
            close(message["grace_s"])
            reply = {"ok": {}}
        case other:
            reply = error("InvalidRequest", f"unknown type {other}")
    with writing:
        print(json.dumps({"reply_to": message["id"], **reply}), flush=True)


if __name__ == "__main__":
    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
    close(0)
