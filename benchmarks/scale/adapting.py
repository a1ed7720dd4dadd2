"""Measures the CPU time of a call of an adapter for an agent framework, in the program and in the server, beside the
framework's own store; then that of the parts of the two reads, without a framework.

Run by hand, on Linux: `.venv/bin/python -m benchmarks.scale.adapting`. Each figure is the smallest of several rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

import psutil

from benchmarks.environments import python_of
from benchmarks.processes import measured_in_child, scratch
from benchmarks.rules_adapters import ENVIRONMENTS, PINS, served_file
from benchmarks.rules_calls import ours
from benchmarks.scale.calling import fastest
from sessions_client import RecordName, Scope, ops
from sessions_client._convert._commits import commit_request, read_request, read_results
from sessions_proto.v1 import commits_pb2 as pb
from sessions_server.app import Core, running_core
from sessions_server.rpc.convert.commits import encode_response, read_commit
from sessions_server.rpc.convert.reads import read_reads
from sessions_server.settings import Settings

ROUNDS: Final = 5
REPEATS: Final = 20
RECORDS: Final = 1_000
FRAMEWORKS: Final = ("openai_agents", "google_adk", "langgraph")
_TENANT: Final = "default"


def calls(framework: str) -> Iterable[str]:
    """What each operation costs, with the adapter and with the framework's own store."""
    python = python_of(ENVIRONMENTS / framework, PINS / f"{framework}.txt")
    with ours() as server, scratch() as folder, served_file(folder) as (file, paths):
        found: dict[str, list[tuple[float, float]]] = measured_in_child(
            f"benchmarks.peers.beside_{framework}",
            *(folder, server.address, file, ROUNDS, REPEATS, server.process.pid, _server_of(file)),
            what=f"The adapter for {framework}",
            python=python,
            PYTHONPATH=paths,
        )
    for name, rounds in found.items():
        program, served = map(min, zip(*rounds, strict=True))
        is_ours = name.startswith(("our", "file"))
        yield f"{framework} {name}: {program:.2f} ms" + (f", server {served:.2f} ms" if is_ours else "")


def _server_of(file: Path) -> int:
    """The process id of the server of a database file."""
    pids = [
        each.pid for each in psutil.process_iter(["cmdline"]) if str(file) in (each.info["cmdline"] or ())
    ]
    return pids[0]


async def parts(folder: Path) -> list[str]:
    """What the parts of a read cost: a short page and a row of it as `get_tuple` reads them, and two pages of 1,000 as
    `list_sessions` does."""
    url = f"sqlite+aiosqlite:///{folder / 'parts.db'}"
    async with running_core(Settings(database_url=url)) as core:
        for number in range(RECORDS):
            await _put(core, number)
        first, newest = Scope(session_id="s0"), "key desc"
        few = [
            ops.list_records(first, ("few", "checkpoints"), order_by=newest, page_size=1),
            ops.list_records(first, ("few", "writes"), subtree=True, order_by=newest, page_size=4),
        ]
        everywhere = Scope(all_sessions=True)
        many = [
            ops.list_records(everywhere, (name, "app", "user"), page_size=RECORDS, values_only=True)
            for name in "ab"
        ]
        return [
            f"the read of get_tuple: {await _read(core, few, repeats=50)}",
            f"the read of list_sessions: {await _read(core, many, repeats=1)}",
        ]


async def _put(core: Core, number: int) -> None:
    """Adds a checkpoint with a write to one session, and two records to another."""
    own, first = Scope(session_id=f"s{number}"), Scope(session_id="s0")
    checkpoint = f"{number:036}"
    puts = [ops.put(RecordName(own, (name, "app", "user"), "key"), b"v" * 90) for name in "ab"]
    kept = [
        ops.put(RecordName(first, ("few", "checkpoints"), checkpoint), b"v" * 500, labels={"step": number}),
        ops.put(RecordName(first, ("few", "writes", checkpoint), "task/0"), b"v" * 80),
    ]
    for session_id, operations in ((f"s{number}", puts), ("s0", kept)):
        create = ops.new_session("u", if_exists="return")
        request = commit_request(session_id, operations, create=create)
        await core.sessions.commit(read_commit(request, tenant=_TENANT, limits=core.limits))


async def _read(core: Core, wanted: list[ops.Read], *, repeats: int) -> str:
    request = read_request(wanted)
    reads = read_reads(request, tenant=_TENANT, limits=core.limits)
    found = await core.sessions.read(reads)
    encoded = encode_response(reads, found, core.limits)
    read = read_results(pb.ReadResponse.FromString(encoded).results)
    if not all(read):
        raise RuntimeError("There is nothing on a page.")
    figures = {
        "request": fastest(lambda: read_request(wanted).SerializeToString(), repeats=repeats),
        "check": fastest(lambda: read_reads(request, tenant=_TENANT, limits=core.limits), repeats=repeats),
        "store": await _fastest(lambda: core.sessions.read(reads), repeats=repeats),
        "response": fastest(lambda: encode_response(reads, found, core.limits), repeats=repeats),
        "parse": fastest(lambda: read_results(pb.ReadResponse.FromString(encoded).results), repeats=repeats),
    }
    return ", ".join(f"{name} {micros:,.0f} µs" for name, micros in figures.items())


async def _fastest(step: Callable[[], Awaitable[object]], *, repeats: int) -> float:
    """The CPU time of one call in all threads, in µs."""
    found: list[float] = []
    for _ in range(REPEATS):
        started = time.process_time()
        for _ in range(repeats):
            await step()
        found.append((time.process_time() - started) / repeats * 1e6)
    return min(found)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for framework in FRAMEWORKS:
        for line in calls(framework):
            sys.stdout.write(f"{line}\n")
    with scratch() as folder:
        for line in asyncio.run(parts(folder)):
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
