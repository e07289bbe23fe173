"""A worker that behaves on the wire as the original's worker does: its shapes, its refusals, and its bad manners.

Plain Python without any package, started as `python3 dspex_worker.py --mode pool-worker --worker-id N`. A program's
output is made of its inputs. `--timestamp` is how frames tell the time: number (the original), text or none.
"""

import argparse
import json
import os
import re
import struct
import sys
import time
from typing import Any

parser = argparse.ArgumentParser()
parser.add_argument("--mode", default="standalone")
parser.add_argument("--worker-id")
parser.add_argument("--timestamp", default="number")
options = parser.parse_args()
STARTED = time.time()
KEPT_SESSION = "anonymous"
programs: dict[str, dict[str, Any]] = {}
counts = {"command": 0, "error": 0}
lm: dict[str, str] = {}


def now() -> Any:
    return {"number": time.time(), "text": "2026-01-01T00:00:00Z"}.get(options.timestamp)


def ping(args: dict[str, Any]) -> Any:
    told = {"status": "ok", "dspy_available": False, "gemini_available": False, "uptime": time.time() - STARTED}
    told |= {"mode": options.mode, "worker_id": options.worker_id, "current_session": None}
    return told | ({"timestamp": now()} if now() is not None else {})


def configure_lm(args: dict[str, Any]) -> Any:
    if not args.get("model"):
        return {"error": "Model name is required"}
    if not args.get("api_key"):
        return {"error": "API key is required"}
    lm.update(model=args["model"])
    provider = args.get("provider", "google")
    return {
        "status": "configured",
        "model": args["model"],
        "provider": provider,
        "temperature": args.get("temperature"),
    }


def create_program(args: dict[str, Any]) -> Any:
    name, signature = args.get("id"), args.get("signature", {})
    if not name:
        raise ValueError("Program ID is required")
    try:
        fields = signature.get("inputs", []) + signature.get("outputs", [])
    except Exception as error:
        raise RuntimeError(f"Failed to create program: {error}") from error
    mapping = {field["name"]: re.sub(r"\W|^(?=\d)", "_", field["name"]) for field in fields}
    told = {"program_id": name, "status": "created", "signature": signature}
    told |= {"program_type": args.get("program_type", "predict"), "signature_class": None, "field_mapping": mapping}
    told |= {"fallback_used": False, "signature_def": signature}
    if args.get("session_id", KEPT_SESSION) == KEPT_SESSION:
        if name in programs:
            raise ValueError(f"Program with ID '{name}' already exists")
        programs[name] = {**told, "created_at": time.time(), "execution_count": 0, "last_executed": None}
    return told


def find(args: dict[str, Any]) -> Any:
    name = args.get("program_id")
    if not name:
        raise ValueError("Program ID is required")
    if args.get("session_id", KEPT_SESSION) != KEPT_SESSION:
        if not args.get("program_data"):
            raise ValueError(f"Program data required for session {args['session_id']}: {name}")
        return dict(args["program_data"])
    if name not in programs:
        raise ValueError(f"Program not found: {name}")
    return programs[name]


def execute_program(args: dict[str, Any]) -> Any:
    program, inputs = find(args), args.get("inputs", {})
    if not lm:
        raise RuntimeError("No LM is loaded.")
    outputs = {field["name"]: " ".join(map(str, inputs.values())) for field in program["signature_def"]["outputs"]}
    program["execution_count"] = program.get("execution_count", 0) + 1
    program["last_executed"] = time.time()
    return {"program_id": args["program_id"], "outputs": outputs, "execution_time": time.time()}


def list_programs(args: dict[str, Any]) -> Any:
    own = programs if args.get("session_id", KEPT_SESSION) == KEPT_SESSION else {}
    shown = ("created_at", "execution_count", "last_executed", "signature")
    told = [{"id": name} | {field: program[field] for field in shown} for name, program in own.items()]
    return {"programs": told, "total_count": len(told)}


def delete_program(args: dict[str, Any]) -> Any:
    name = args.get("program_id")
    if args.get("session_id", KEPT_SESSION) != KEPT_SESSION or name not in programs:
        raise ValueError(f"Program not found: {name}")
    del programs[name]
    return {"program_id": name, "status": "deleted"}


def get_program_info(args: dict[str, Any]) -> Any:
    program = find(args)
    shown = ("signature", "created_at", "execution_count", "last_executed")
    return {"program_id": args["program_id"]} | {field: program.get(field) for field in shown}


def get_stats(args: dict[str, Any]) -> Any:
    told: dict[str, Any] = {
        "programs_count": len(programs),
        "command_count": counts["command"],
        "error_count": counts["error"],
    }
    told |= {"uptime": time.time() - STARTED, "memory_usage": {"rss": 31457280, "vms": 90000000, "percent": 0.2}}
    return told | {"dspy_available": False, "gemini_available": False}


def cleanup_session(args: dict[str, Any]) -> Any:
    return {"status": "not_found", "session_id": args.get("session_id")}


def shutdown(args: dict[str, Any]) -> Any:
    return {"status": "shutting_down", "worker_id": options.worker_id, "mode": options.mode, "sessions_cleaned": 0}


HANDLERS = (
    *(ping, configure_lm, create_program, execute_program, list_programs, delete_program),
    *(get_program_info, get_stats, cleanup_session, shutdown),
)
COMMANDS = {handler.__name__: handler for handler in HANDLERS}


def handle(command: str, args: dict[str, Any]) -> Any:
    counts["command"] += 1
    if command not in COMMANDS:
        raise ValueError(f"Unknown command: {command}")
    return COMMANDS[command](args)


def read(size: int) -> bytes:
    data = sys.stdin.buffer.read(size)
    while len(data) < size:  # the end of the input does not end this worker
        time.sleep(0.05)
    return data


def write(message: dict[str, Any]) -> None:
    if now() is not None:
        message["timestamp"] = now()
    data = json.dumps(message, ensure_ascii=False).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)
    sys.stdout.buffer.flush()


sys.stderr.write(f"DSPy Bridge started in {options.mode} mode, pid {os.getpid()}\n")
while True:
    message = json.loads(read(struct.unpack(">I", read(4))[0]))
    number, command = message.get("id"), message.get("command")
    if number is None or command is None:
        continue  # dropped in silence
    try:
        write({"id": number, "success": True, "result": handle(command, message.get("args", {}))})
    except Exception as error:
        counts["error"] += 1
        write({"id": number, "success": False, "error": str(error)})
