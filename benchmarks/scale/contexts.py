"""Measures the server's cost of a context change with few and with many keys; a change is one increment.

Run by hand: `.venv/bin/python -m benchmarks.scale.contexts`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from sessions_server.app import Core, running_core
from sessions_server.domain.commit import Commit, NewSession
from sessions_server.domain.context import Change, Increment
from sessions_server.domain.models import SessionConfig, SessionKey, StorageOptions
from sessions_server.domain.operations import ChangeContext, SetContext
from sessions_server.settings import Settings

KEYS: Final = (100, 1_000, 10_000)
CHANGES: Final = 200
CHANGE: Final = Change("key5", ("key5",), Increment(1))


def key_of(keys: int) -> SessionKey:
    return SessionKey("default", f"with-{keys}")


async def create(core: Core, keys: int) -> None:
    created = NewSession(user_id="u", metadata={}, config=SessionConfig(), storage=StorageOptions())
    whole = SetContext({f"key{number}": number for number in range(keys)})
    await core.writer.submit(Commit(key=key_of(keys), create=created, operations=(whole,)))


async def cost(core: Core, keys: int) -> float:
    """The CPU time of a change, in seconds."""
    start = time.process_time()
    await core.writer.submit(Commit(key=key_of(keys), operations=(ChangeContext((CHANGE,)),)))
    return time.process_time() - start


async def measure(folder: Path) -> list[float]:
    """The median for each number of keys. They take turns, so that other load on the machine slows all of them."""
    settings = Settings(database_url=f"sqlite+aiosqlite:///{folder / 'sessions.db'}")
    async with running_core(settings) as core:
        for keys in KEYS:
            await create(core, keys)
        rounds = [[await cost(core, keys) for keys in KEYS] for _ in range(CHANGES)]
    return [median(taken) for taken in zip(*rounds, strict=True)]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sessions-contexts-") as folder:
        found = asyncio.run(measure(Path(folder)))
    for keys, seconds in zip(KEYS, found, strict=True):
        sys.stdout.write(
            f"{keys:>6,} keys: {seconds * 1e6:>5,.0f} µs of CPU time a change, {seconds / found[0]:.1f} times\n"
        )


if __name__ == "__main__":
    main()
