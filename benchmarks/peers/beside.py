"""Runs an adapter and the framework's own store alternately, in the framework's environment; prints their times."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

LARGE = 1_000
"""How many items, checkpoints or sessions exist when an operation is measured."""

Operations: TypeAlias = Mapping[str, Callable[[], Awaitable[object]]]


Prepare: TypeAlias = Callable[[Path, Mapping[str, str]], "AbstractAsyncContextManager[Operations]"]
"""Prepares the operations, with a folder for the framework's databases and the targets of our client: `our` is a server
over TCP, `file` a database file. The names of our operations begin with that of their target."""


def measure(prepare: Prepare) -> None:
    """Prints the median milliseconds of each operation in each round, as JSON.

    The command line has the folder for databases, the server's address, the path of a database file, the number of
    rounds, and the number of operations per round. With the process ids of the two servers it prints the CPU time of an
    operation instead, in the program and in the server.
    """
    folder, address, file, rounds, repeats, *pids = sys.argv[1:]
    targets = {"our": address, "file": file}
    servers = dict(zip(targets, map(int, pids), strict=True)) if pids else None
    asyncio.run(_measure(prepare, Path(folder), targets, int(rounds), int(repeats), servers))


async def _measure(
    prepare: Prepare,
    folder: Path,
    targets: Mapping[str, str],
    rounds: int,
    repeats: int,
    servers: Mapping[str, int] | None,
) -> None:
    async with prepare(folder, targets) as operations:
        found: dict[str, list[object]] = {name: [] for name in operations}
        for _ in range(rounds):
            for name, operation in operations.items():
                if servers is None:
                    found[name].append(await _median(operation, repeats))
                else:
                    found[name].append(await _cpu(operation, repeats, servers.get(name.split()[0])))
    sys.stdout.write(json.dumps(found) + "\n")


async def _median(operation: Callable[[], Awaitable[object]], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        await operation()
        taken.append((time.perf_counter() - started) * 1_000)
    return statistics.median(taken)


async def _cpu(
    operation: Callable[[], Awaitable[object]], repeats: int, server: int | None
) -> tuple[float, float]:
    """The milliseconds of CPU time of an operation, in this process and in the server's."""
    started, served = time.process_time(), _cpu_of(server)
    for _ in range(repeats):
        await operation()
    spent = (time.process_time() - started) / repeats
    return spent * 1_000, (_cpu_of(server) - served) / repeats * 1_000


def _cpu_of(pid: int | None) -> float:
    """The CPU time of another process, in seconds. Its clock is that of clock_getcpuclockid(3) on Linux."""
    return 0.0 if pid is None else time.clock_gettime((~pid << 3) | 2)
