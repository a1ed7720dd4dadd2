"""Measures which part of a write costs how much on PostgreSQL, without gRPC: CPU time for each message.

Run by hand: `.venv/bin/python -m benchmarks.scale.writing_postgres`. The parts are those of `benchmarks.scale.writing`;
`rest` is BEGIN, COMMIT and the event loop, and `database` is the CPU time of PostgreSQL's processes. With
`--generic-plans` PostgreSQL plans each statement once instead of at each execution.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from functools import partial
from typing import Final

import psutil

from benchmarks.processes import postgres_url
from benchmarks.scale.writing import ROUNDS, SHAPES, Spent, commits
from sessions_server.app import running_core
from sessions_server.domain.commit import Commit, NewSession
from sessions_server.domain.models import SessionConfig, SessionKey, StorageOptions
from sessions_server.service.ids import new_message_id
from sessions_server.settings import Settings

OF_SERVER: Final = "SELECT pid FROM pg_stat_activity WHERE application_name = 'sessions-server'"


async def database_seconds(url: str) -> float:
    """The CPU time of PostgreSQL's processes for the server so far. Analyzes the tables first, as the server does some
    seconds after its start."""
    import asyncpg  # from the extra [postgres]

    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute("ANALYZE")
        rows = await connection.fetch(OF_SERVER)
    finally:
        await connection.close()
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for (pid,) in rows)


async def use_generic_plans(url: str) -> None:
    import asyncpg  # from the extra [postgres]

    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute("ALTER ROLE CURRENT_USER SET plan_cache_mode = force_generic_plan")
    finally:
        await connection.close()


async def measure(url: str, count: int, sessions: int) -> dict[str, float]:
    """The seconds of each part of a transaction."""
    spent, totals = Spent(), []
    async with running_core(Settings(database_url=url)) as core:
        keys = [SessionKey("default", new_message_id()) for _ in range(sessions)]
        for key in keys:
            new = NewSession(user_id="u", metadata={}, config=SessionConfig(), storage=StorageOptions())
            await core.writer.submit(Commit(key, create=new))
        before = await database_seconds(url)
        for _ in range(ROUNDS):
            batch = list(commits(keys, count))
            started = time.process_time()
            await core.store.transact(partial(spent.transact, commits=batch))
            totals.append(time.process_time() - started)
        database = (await database_seconds(url) - before) / ROUNDS
    parts = {name: statistics.median(getattr(spent, name)) for name in ("load", "decide", "save")}
    return {**parts, "rest": statistics.median(totals) - sum(parts.values()), "database": database}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generic-plans", action="store_true")
    options = parser.parse_args()
    for count, sessions in SHAPES:
        with postgres_url() as url:
            if options.generic_plans:
                asyncio.run(use_generic_plans(url))
            parts = asyncio.run(measure(url, count, sessions))
        micros = {name: seconds / count * 1e6 for name, seconds in parts.items()}
        shown = ", ".join(f"{name} {each:.0f}" for name, each in micros.items())
        sys.stdout.write(
            f"{count:>3} messages on {sessions:>2} sessions: {sum(micros.values()):,.0f} µs a message ({shown})\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
