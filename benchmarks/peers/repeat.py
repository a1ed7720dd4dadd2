"""Repeats a library's way of adding a message, in its own process and without a network."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

CALLERS = 64
SESSIONS = 4

Add: TypeAlias = Callable[[int], Awaitable[object]]
"""Adds one message to the session of this number, and returns when it is stored."""


def measure(peer: Callable[[Path], AbstractAsyncContextManager[Add]]) -> None:
    """Prints how many messages per second one caller and 64 callers on four sessions add, as JSON.

    The command line has the folder for the database and the duration of each measurement in seconds.
    """
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    asyncio.run(_measure(peer, folder, seconds))


async def _measure(
    peer: Callable[[Path], AbstractAsyncContextManager[Add]], folder: Path, seconds: float
) -> None:
    async with peer(folder) as add:
        rates = {callers: await _rate(add, callers=callers, seconds=seconds) for callers in (1, CALLERS)}
    sys.stdout.write(json.dumps(rates) + "\n")


async def _rate(add: Add, *, callers: int, seconds: float) -> float:
    started = time.perf_counter()
    end = started + seconds

    async def caller(number: int) -> int:
        done = 0
        while time.perf_counter() < end:
            await add(number % SESSIONS)
            done += 1
        return done

    done = await asyncio.gather(*(caller(number) for number in range(callers)))
    return sum(done) / (time.perf_counter() - started)
