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
    rounds, and the number of operations per round.
    """
    folder, address, file, rounds, repeats = sys.argv[1:]
    asyncio.run(_measure(prepare, Path(folder), {"our": address, "file": file}, int(rounds), int(repeats)))


async def _measure(
    prepare: Prepare, folder: Path, targets: Mapping[str, str], rounds: int, repeats: int
) -> None:
    async with prepare(folder, targets) as operations:
        found: dict[str, list[float]] = {name: [] for name in operations}
        for _ in range(rounds):
            for name, operation in operations.items():
                found[name].append(await _median(operation, repeats))
    sys.stdout.write(json.dumps(found) + "\n")


async def _median(operation: Callable[[], Awaitable[object]], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        await operation()
        taken.append((time.perf_counter() - started) * 1_000)
    return statistics.median(taken)
