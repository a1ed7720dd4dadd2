"""Measures `sessions-server import`: sessions per second when imported in batches, as it does, and one by one.

Run by hand: `.venv/bin/python -m benchmarks.scale.moving --sessions 20000`, with `--postgres` into PostgreSQL, and with
`--messages 15` for sessions that have messages and a context. Both ways take turns, so that other load on the machine
slows both. The CPU time is that of the command, without PostgreSQL's.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.fill import fill
from benchmarks.processes import postgres_url, sqlite_url
from sessions_server.app import Core, running_core
from sessions_server.commands.running import make_gc_rare
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


async def export(url: str, dump: Path) -> None:
    async with running_core(Settings(database_url=url)) as core:
        with open_to_write(dump, core.cells) as writer:
            await export_all(core.store, core.transfers, writer, progress=lambda _: None)


class Cost(NamedTuple):
    """The time to import one session, in seconds."""

    elapsed: float
    cpu: float

    def __str__(self) -> str:
        return f"{1 / self.elapsed:>7,.0f} sessions/s, {self.cpu * 1e6:>7,.0f} µs of CPU time each"


async def cost(way: Way, dump: Path, url: str) -> Cost:
    """Into a new database."""
    async with running_core(Settings(database_url=url)) as core:
        make_gc_rare()
        with open_to_read(dump, core.cells) as reader:
            start, cpu = time.perf_counter(), time.process_time()
            await way(core, reader)
            elapsed, spent = time.perf_counter() - start, time.process_time() - cpu
        sessions = (await core.store.counts()).sessions
    return Cost(elapsed / sessions, spent / sessions)


@contextmanager
def new_database(*, postgres: bool) -> Iterator[str]:
    if postgres:
        with postgres_url() as url:
            yield url
    else:
        with tempfile.TemporaryDirectory(prefix="sessions-moving-") as folder:
            yield sqlite_url(Path(folder) / "moved.db")


def measure(dump: Path, *, rounds: int, postgres: bool) -> None:
    for _ in range(rounds):
        costs = []
        for way in (together, one_by_one):
            with new_database(postgres=postgres) as url:
                costs.append(asyncio.run(cost(way, dump, url)))
        many, single = costs
        sys.stdout.write(
            f"together   {many}\none by one {single}\n"
            f"{single.elapsed / many.elapsed:.1f} times as fast, with {single.cpu / many.cpu:.1f} times less CPU time\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sessions-moving-") as name:
        folder = Path(name)
        dump = folder / "dump"
        fill(folder, sessions=given.sessions, messages=given.messages)
        asyncio.run(export(sqlite_url(folder / "sessions.db"), dump))
        measure(dump, rounds=given.rounds, postgres=given.postgres)


if __name__ == "__main__":
    main()
