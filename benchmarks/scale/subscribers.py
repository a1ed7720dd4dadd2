"""Measures which part of an idle subscriber's memory is whose: gRPC's or ours.

Run by hand: `.venv/bin/python -m benchmarks.scale.subscribers`. Prints the resident memory for each of 2,000 idle
subscribers on as many sessions: of a bare gRPC server that keeps only the stream, and of ours. `C` is what the C
library has allocated, for gRPC and for Python objects of more than 512 bytes; `objects` are Python's smaller ones.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import psutil

from benchmarks.crowd import crowd
from benchmarks.messages import SERVICE as BARE
from benchmarks.ours import SERVICE, connected
from benchmarks.processes import Server, environment, scratch, sqlite_url
from benchmarks.rules_streams import IDLE_SUBSCRIBERS
from sessions_proto.v1 import sessions_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message

WARMING: Final = 100
BARE_SERVER: Final = "benchmarks.echo_server"


class _Allocated(ctypes.Structure):
    """The result of glibc's `mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


class Memory(NamedTuple):
    """The memory of a process."""

    resident: int
    """In bytes, as are those of C."""
    c: int
    objects: int
    """The number of Python's small objects."""


def report(file: str) -> None:
    """Writes this process's memory to a file."""
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Allocated
    found = libc.mallinfo2()
    memory = Memory(
        psutil.Process().memory_info().rss, found.uordblks + found.hblkhd, sys.getallocatedblocks()
    )
    part = Path(f"{file}.part")
    part.write_text(json.dumps(memory), encoding="utf-8")
    part.rename(file)


def serve(file: str, module: str, *arguments: str) -> None:
    """Runs a server in this process, which reports its memory whenever it receives SIGUSR1."""
    import runpy

    signal.signal(signal.SIGUSR1, lambda *_: report(file))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")


def memory_of(server: Server, file: Path) -> Memory:
    file.unlink(missing_ok=True)
    psutil.Process(server.pid).send_signal(signal.SIGUSR1)
    while not file.exists():
        time.sleep(0.05)
    return Memory(*json.loads(file.read_text(encoding="utf-8")))


async def measure(server: Server, file: Path, method: str, requests: Sequence[Message]) -> str:
    with crowd() as warming:
        await warming.subscribe(server.address, method, requests[:WARMING])
    with crowd() as listening:
        before = await asyncio.to_thread(memory_of, server, file)
        await listening.subscribe(server.address, method, requests)
        after = await asyncio.to_thread(memory_of, server, file)
    resident, c, objects = ((two - one) / len(requests) for one, two in zip(before, after, strict=True))
    return f"{resident / 1000:.1f} kB (C {c / 1000:.1f} kB, {objects:.0f} objects)"


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", __spec__.name, "--serve", str(folder / "memory"), *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def run(name: str, *arguments: str) -> None:
    with scratch() as folder:
        url = sqlite_url(folder / "sessions.db")
        own = ["--database-url", url] if name == "ours" else []
        with started(folder, *arguments, *own) as process:
            try:
                line = process.stdout.readline() if process.stdout is not None else ""
                server = Server(line.rsplit(maxsplit=1)[-1], process.pid)
                sys.stdout.write(f"{name}: {_measured(name, server, folder / 'memory')}\n")
            finally:
                process.terminate()


def _measured(name: str, server: Server, file: Path) -> str:
    if name == "bare":
        requests = [pb.SubscribeRequest(session_id="s")] * IDLE_SUBSCRIBERS
        return asyncio.run(measure(server, file, f"{BARE}/Subscribe", requests))
    with connected(server) as found:
        own = [pb.SubscribeRequest(session_id=found.session()) for _ in range(IDLE_SUBSCRIBERS)]
        return asyncio.run(measure(server, file, f"{SERVICE}/Subscribe", own))


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
        return
    argparse.ArgumentParser(description=__doc__).parse_args()
    run("bare", BARE_SERVER)
    run("ours", "sessions_server", "serve", "--listen", "127.0.0.1:0")


if __name__ == "__main__":
    main()
