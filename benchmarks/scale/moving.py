"""Measures `sessions-server import` in sessions per second: many together, and one by one for comparison.

Run by hand: `.venv/bin/python -m benchmarks.scale.moving --sessions 20000`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.fill import fill
from sessions_server.app import Core, running_core
from sessions_server.domain.transfer import Header
from sessions_server.dump.reader import DumpReader, open_to_read
from sessions_server.dump.transfer import export_all, import_all
from sessions_server.dump.writer import open_to_write
from sessions_server.settings import Settings

Way = Callable[[Core, DumpReader], Awaitable[object]]


async def together(core: Core, reader: DumpReader) -> None:
    await import_all(core.store, core.transfers, reader, progress=lambda _: None)


async def one_by_one(core: Core, reader: DumpReader) -> None:
    for header in reader.headers():
        if isinstance(header, Header):
            await core.transfers.move_in(header.session.key, reader.records(header, reader.lines()))


async def export(folder: Path, dump: Path) -> None:
    async with running_core(_settings(folder / "sessions.db")) as core:
        with open_to_write(dump, core.cells) as writer:
            await export_all(core.store, core.transfers, writer, progress=lambda _: None)


class Cost(NamedTuple):
    """The cost of importing one session, in seconds."""

    elapsed: float
    cpu: float


async def cost(way: Way, dump: Path, database: Path, sessions: int) -> Cost:
    """Imports into a new database."""
    async with running_core(_settings(database)) as core:
        with open_to_read(dump, core.cells) as reader:
            start, cpu = time.perf_counter(), time.process_time()
            await way(core, reader)
            taken = Cost((time.perf_counter() - start) / sessions, (time.process_time() - cpu) / sessions)
        assert (await core.store.counts()).sessions >= sessions
    return taken


def _settings(database: Path) -> Settings:
    return Settings(database_url=f"sqlite+aiosqlite:///{database}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20_000)
    sessions: int = parser.parse_args().sessions
    with tempfile.TemporaryDirectory(prefix="sessions-moving-") as name:
        folder = Path(name)
        dump = folder / "dump"
        fill(folder, sessions=sessions)
        asyncio.run(export(folder, dump))
        single = asyncio.run(cost(one_by_one, dump, folder / "one.db", sessions))
        many = asyncio.run(cost(together, dump, folder / "many.db", sessions))
    sys.stdout.write(
        f"import: {1 / many.elapsed:,.0f} sessions/s together, {1 / single.elapsed:,.0f} one by one, "
        f"{single.elapsed / many.elapsed:.1f} times; {many.cpu * 1e6:,.0f} µs of CPU time a session together, "
        f"{single.cpu * 1e6:,.0f} one by one, {single.cpu / many.cpu:.1f} times\n"
    )


if __name__ == "__main__":
    main()
