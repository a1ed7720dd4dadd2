"""SQLite's write-ahead log stays short however many readers overlap. No other store has one."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest_asyncio

from sessions_server.domain.fork import Fork
from sessions_server.domain.limits import Limits
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.sqlite import runner as running
from sessions_server.storage.sqlite.backend import SqliteBackend
from sessions_server.storage.sqlite.runner import READERS, SqliteRunner
from sessions_server.storage.store import open_store
from tests.conformance.harness import KEY, OTHER, Harness, add, create

if TYPE_CHECKING:
    import pytest
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

LIMIT = 512 * 1024
MESSAGE_BYTES = 100_000
ADDS = 60
MESSAGES = 100
"""Together more than SQLite writes to the log before it moves them, and less than `LOG_LIMIT_BYTES`."""


@pytest_asyncio.fixture
async def bench(
    file_url: str, opener: Opener, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Harness]:
    monkeypatch.setattr(running, "LOG_LIMIT_BYTES", LIMIT)
    store = opener(file_url)
    await store.start()
    bench = Harness(store, clock)
    await bench.apply(create(), add("x" * MESSAGE_BYTES))
    yield bench
    await store.close()


def runner_of(bench: Harness) -> SqliteRunner:
    runner = bench.store._runner
    assert isinstance(runner, SqliteRunner)
    return runner


async def test_the_log_is_bounded_while_readers_overlap(bench: Harness, tmp_path: Path) -> None:
    runner, log = runner_of(bench), tmp_path / "sessions.db-wal"
    is_over = asyncio.Event()

    async def read_on() -> None:
        while not is_over.is_set():
            await runner.read(lambda connection: read_rows(connection), snapshot=True)

    readers = [asyncio.create_task(read_on()) for _ in range(3 * READERS)]
    sizes, shown = [], []
    for number in range(ADDS):
        await bench.do(add(f"{number} {'x' * MESSAGE_BYTES}"))
        sizes.append(log.stat().st_size)
        shown.append(bench.store.log_bytes)
    is_over.set()
    await asyncio.gather(*readers)
    assert ADDS * MESSAGE_BYTES > 10 * LIMIT
    assert max(sizes) < 3 * LIMIT
    assert bench.store.log_limit_bytes == LIMIT
    assert LIMIT < max(shown) < 3 * LIMIT


def read_rows(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT sum(length(payload)) FROM log").fetchall()


async def write_beyond_the_limit(bench: Harness, name: str) -> None:
    for number in range(LIMIT // MESSAGE_BYTES + 1):
        await bench.do(add(f"{name} {number} {'x' * MESSAGE_BYTES}"))


async def test_overlapping_searches_yield_and_reads_do_not_wait(bench: Harness, tmp_path: Path) -> None:
    runner, log = runner_of(bench), tmp_path / "sessions.db-wal"
    began, may_end = threading.Event(), threading.Event()

    def search_long(connection: Connection) -> None:
        read_rows(connection)
        began.set()
        may_end.wait()

    first = asyncio.create_task(runner.search(search_long, tenant="t", field="filter"))
    try:
        await asyncio.to_thread(began.wait)
        await write_beyond_the_limit(bench, "a")
        second = asyncio.create_task(runner.search(read_rows, tenant="t", field="filter"))
        await bench.store.session(KEY)
        assert log.stat().st_size > LIMIT
        assert not second.done(), "it waits until the log is empty"
    finally:
        may_end.set()
    await asyncio.gather(first, second)
    await bench.do(add("last"))
    assert log.stat().st_size < LIMIT


def open_reading(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM log").fetchone()
    return connection


async def test_another_programs_long_read_delays_no_search(bench: Harness, tmp_path: Path) -> None:
    runner = runner_of(bench)
    outside = open_reading(tmp_path / "sessions.db")
    try:
        await write_beyond_the_limit(bench, "a")
        await asyncio.gather(*(runner.search(read_rows, tenant="t", field="filter") for _ in range(9)))
        assert bench.store.log_bytes > LIMIT
    finally:
        outside.close()


async def test_a_fork_is_durable_in_the_log_and_moves_into_the_file_later(
    tmp_path: Path, clock: HandClock, cells: Cells
) -> None:
    file, log = tmp_path / "sessions.db", tmp_path / "sessions.db-wal"
    options = RunOptions(clock=clock, scrub_seconds=86_400)  # truncating the log would write to the file
    store = open_store(SqliteBackend(file), cells=cells, limits=Limits(), options=options)
    await store.start()
    bench = Harness(store, clock)
    await bench.apply(create(), *(add(f"{number} {'x' * MESSAGE_BYTES}") for number in range(MESSAGES)))
    size = file.stat().st_size
    await store.fork(Fork(source=KEY, key=OTHER, log_id="of the fork"))
    assert file.stat().st_size == size

    crashed = tmp_path / "crashed.db"
    shutil.copy(file, crashed)
    shutil.copy(log, f"{crashed}-wal")
    with closing(sqlite3.connect(crashed)) as reader:
        messages = "SELECT count(message_id) FROM log WHERE session_id = ?"
        assert reader.execute(messages, (OTHER.session_id,)).fetchone() == (MESSAGES,)

    await bench.do(add("the next write"))
    assert file.stat().st_size > size + MESSAGES * MESSAGE_BYTES
    await store.close()
