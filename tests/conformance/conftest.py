"""One suite for three stores: SQLite in memory, SQLite in a file, PostgreSQL. A test that excludes one says why."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import pytest_asyncio

from sessions_server.domain.limits import Limits
from sessions_server.security.cells import KeyringCells
from sessions_server.security.keyring import create_keyring
from sessions_server.storage import migrations
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.sqlite import runner
from sessions_server.storage.sqlite.connection import driver_of
from sessions_server.storage.store import Store, open_store
from tests.conformance.harness import Harness
from tests.support.clock import HandClock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells
    from tests.support.postgres import Postgres

TEMPLATE = "migrated"
LEAVING_SECONDS = 30
"""Far longer than closing a connection takes."""


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    keyring = create_keyring(
        tmp_path_factory.mktemp("keys") / "keyring", now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return KeyringCells(lambda: keyring)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(postgres_server: Postgres, cells: Cells) -> Postgres:
    """The server, with a template database whose tables each test's database copies."""
    await postgres_server.execute(f"CREATE DATABASE {TEMPLATE}")
    store = open_store(
        parse_url(postgres_server.url(TEMPLATE)),
        cells=cells,
        limits=Limits(),
        options=RunOptions(allow_unsafe=True),
    )
    await store.start()
    await store.close()
    return postgres_server


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Checks that a test leaves nothing open that a store opened: no threads, and no files of the test's folder."""
    yield
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("sqlite-")]
    files = [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))]
    assert (threads, files) == ([], [])


@pytest.fixture(scope="session", autouse=True)
def copied_tables() -> Iterator[None]:
    """Databases in memory get copies of the first one's tables, as those on PostgreSQL do: migrations take most of
    the time of a short test."""
    statements: list[str] = []

    def migrate(connection: Connection) -> None:
        driver = driver_of(connection)
        [(_, _, file)] = driver.execute("PRAGMA database_list").fetchall()
        if statements and not file:
            for statement in statements:
                driver.execute(statement)
            return
        migrations.migrate(connection)
        if not file:
            statements.extend(list(driver.iterdump())[1:-1])  # without BEGIN and COMMIT

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "migrate", migrate)
        yield


@pytest_asyncio.fixture
async def postgres_url(postgres: Postgres) -> AsyncIterator[str]:
    """A database; checks that no connection to it remains after the test."""
    name = await postgres.fresh_database(template=TEMPLATE)
    yield postgres.url(name)
    connections = f"SELECT application_name, state FROM pg_stat_activity WHERE datname = '{name}'"
    async with asyncio.timeout(LEAVING_SECONDS):
        while await postgres.fetch(connections):  # noqa: ASYNC110  # the server takes a moment to end closed connections
            await asyncio.sleep(0.01)


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'sessions.db'}"


@pytest.fixture(params=["memory", "file", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "sqlite+aiosqlite:///:memory:"
    found: str = request.getfixturevalue("file_url" if request.param == "file" else "postgres_url")
    return found


@pytest.fixture(params=["file", "postgres"])
def lasting_url(request: pytest.FixtureRequest) -> str:
    """A database that outlives a process."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


Opener = Callable[[str], Store]


@pytest.fixture
def opener(clock: HandClock, cells: Cells) -> Opener:
    options = RunOptions(clock=clock, pool_size=4, scrub_seconds=0.01, allow_unsafe=True)
    return lambda url: open_store(parse_url(url), cells=cells, limits=Limits(), options=options)


@pytest_asyncio.fixture
async def bench(url: str, opener: Opener, clock: HandClock) -> AsyncIterator[Harness]:
    """A started store, on each database in turn."""
    store = opener(url)
    await store.start()
    try:
        yield Harness(store, clock)
    finally:
        await store.close()
