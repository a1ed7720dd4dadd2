"""Measures what a transaction on PostgreSQL costs besides its statements' own work: round trips and connections.

Run by hand: `.venv/bin/python -m benchmarks.scale.round_trips`. Prints the server's CPU time and the time in all. Each
figure is the lowest of several rounds, since disturbances only add time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.processes import postgres_url
from sessions_server.storage.postgres.spelling import SPELLING
from sessions_server.storage.statements import SPELLING as SPELLING_OPTION, Prepared

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

ROUNDS: Final = 5
REPEATS: Final = 300
ONE: Final = Prepared(sa.select(sa.literal_column("1")))


async def show(name: str, repeated: Callable[[], Awaitable[object]]) -> None:
    spent: list[float] = []
    taken: list[float] = []
    for _ in range(ROUNDS):
        cpu, began = time.process_time(), time.perf_counter()
        for _ in range(REPEATS):
            await repeated()
        spent.append((time.process_time() - cpu) / REPEATS * 1e6)
        taken.append((time.perf_counter() - began) / REPEATS * 1e6)
    sys.stdout.write(f"{name:40} {min(spent):4.0f} µs of CPU time, {min(taken):5.0f} µs in all\n")


def five(connection: Connection) -> None:
    for _ in range(5):
        ONE.rows(connection)


async def measure(url: str) -> None:
    engine = create_async_engine(
        url, isolation_level="AUTOCOMMIT", execution_options={SPELLING_OPTION: SPELLING}
    )
    try:
        async with engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await show("a statement of the driver", lambda: driver.fetch("SELECT 1"))
            await show("five statements as the server sends them", lambda: connection.run_sync(five))

            async def empty() -> None:
                await driver.execute("BEGIN")
                await driver.execute("COMMIT")

            await show("an empty transaction", empty)
            await driver.execute("CREATE TABLE rows (number int)")

            async def insert() -> None:
                await driver.execute("INSERT INTO rows VALUES (1)")

            await show("a durable insert of one row", insert)

        async def connect() -> None:
            async with engine.connect() as found:
                await found.run_sync(lambda _: None)

        await show("a connection from the pool", connect)
    finally:
        await engine.dispose()


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with postgres_url() as url:
        asyncio.run(measure(url))


if __name__ == "__main__":
    main()
