"""A driver in Python: a checkout pool of processes with commands of their own. See docs/reference/driver.md."""

import asyncio
import json
import sys

WORKER = """
import json, sys, time
COMMANDS = {
    "ping": lambda args: "pong",
    "echo": lambda args: args.get("value", args),
    "sleep": lambda args: time.sleep(args["seconds"]) or args,
}
for line in sys.stdin:
    command, args = json.loads(line)
    try:
        reply = {"ok": {"result": COMMANDS[command](args)}}
    except Exception as problem:
        reply = {"error": {"name": "CommandError", "text": f"{command}: {problem!r}"}}
    print(json.dumps(reply), flush=True)
"""
SELF = {"protocol": 1, "name": "pipes", "commands": ["ping", "echo", "sleep"]}
PIPE, LIMIT = asyncio.subprocess.PIPE, 2**28
idle, workers, running = asyncio.Queue(), set(), set()


async def start_worker():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, stdin=PIPE, stdout=PIPE, limit=LIMIT)
    workers.add(process)
    idle.put_nowait(process)


async def call(message):
    ends = asyncio.get_running_loop().time() + message["timeout_s"]
    try:
        process = await asyncio.wait_for(idle.get(), min(message["timeout_s"], message["checkout_timeout_s"]))
        name = "WorkerCrashed"
        if process is not None:
            process.stdin.write(json.dumps([message["command"], message["args"]]).encode() + b"\n")
            async with asyncio.timeout_at(ends):
                reply = await process.stdout.readline()
            if reply:
                idle.put_nowait(process)
                return json.loads(reply)
    except TimeoutError:
        name = "CallTimeout" if "process" in locals() else "CheckoutTimeout"
    if SELF.get("closed"):
        idle.put_nowait(None)  # for the next call that waits
        return {"error": {"name": "PoolClosed", "text": "the pool is closed"}}
    if name == "CheckoutTimeout":
        return {"error": {"name": name, "text": "no worker was free in time"}}
    process.kill()
    await start_worker()
    return {"error": {"name": name, "text": f"{message['command']} had no answer", "sent": "yes"}}


async def answer(message):
    reply = {"ok": {}}
    match message["type"]:
        case "hello":
            reply = {"ok": SELF}
        case "open":
            await asyncio.gather(*(start_worker() for _ in range(message["config"]["workers"])))
        case "call":
            reply = await call(message)
        case "close":
            SELF["closed"] = True
            idle.put_nowait(None)
            if others := running - {asyncio.current_task()}:
                await asyncio.wait(others, timeout=message["grace_s"])
            [process.kill() for process in workers if process.returncode is None]
            await asyncio.gather(*others, *(process.wait() for process in workers))
        case other if other != "status":
            reply = {"error": {"name": "InvalidRequest", "text": f"unknown type {other}"}}
    print(json.dumps({"reply_to": message["id"], **reply}), flush=True)


async def main():
    stdin = asyncio.StreamReader(limit=LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    while line := await stdin.readline():
        running.add(task := asyncio.create_task(answer(json.loads(line))))
        task.add_done_callback(running.discard)


asyncio.run(main())
