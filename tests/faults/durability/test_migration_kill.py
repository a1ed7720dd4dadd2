"""A server killed while it migrates a database of the first release: the next start completes the migration."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine

from sessions_client import Client
from sessions_server.security.cells import KeyringCells
from sessions_server.security.keyring import create_keyring
from sessions_server.storage.migrations import HEAD, VERSION_TABLE
from sessions_server.storage.schema import metadata
from tests.conformance.test_first_release import SESSIONS, fill
from tests.conformance.test_migrations import config_for, tables_of
from tests.support.command_line import environment
from tests.support.server import sqlite_url, start_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells
    from tests.support.postgres import Postgres

T = TypeVar("T")

KILLED_BEFORE: Final = (
    *(
        "UPDATE log",
        "CREATE TABLE record_terms",
        "CREATE INDEX ix_records_all_time",
        "ALTER TABLE erasures DROP",
    ),
    f"version_num='{HEAD}'",
)
CREATED: Final = 1_700_000_000_000_000


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    postgres: Postgres = request.getfixturevalue("postgres_server")
    return postgres.url(asyncio.run(postgres.fresh_database()))


def test_a_killed_migration_is_completed_by_the_next_start(url: str, tmp_path: Path) -> None:
    keyring = tmp_path / "keyring"
    made = create_keyring(keyring, now=datetime(2026, 1, 1, tzinfo=UTC))
    settings = {
        "SESSIONS_DATABASE_URL": url, "SESSIONS_KEYRING": str(keyring), "SESSIONS_ALLOW_UNSAFE_DURABILITY": "1"
    }  # fmt: skip
    on(url, lambda connection: begin(connection, KeyringCells(lambda: made)))
    before = on(url, state)
    assert before[0] == "0001"
    for text in KILLED_BEFORE:
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.durability.killed_migration", text],
            cwd=tmp_path,
            env=environment({"SESSIONS_LISTEN": "127.0.0.1:0", **settings}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (-signal.SIGKILL, "killed\n"), done.stderr
        assert on(url, state) == before
    with start_server(tmp_path, env=settings) as server, Client(server.address) as client:
        assert len(list(client.sessions.list())) == SESSIONS
        for number in (0, 1, SESSIONS - 1):  # the first is encrypted
            id_ = f"s{number}"
            assert [message.content for message in client.sessions.get_history(id_)] == ["a", "b"]
            assert client.sessions.get_context(id_) == {"n": number}
            assert client.sessions.add_message(id_, role="user", content="c").sequence == 5


def on(url: str, work: Callable[[Connection], T]) -> T:
    """Opens the database without migrating it."""

    async def run() -> T:
        engine = create_async_engine(url)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def begin(connection: Connection, cells: Cells) -> None:
    command.upgrade(config_for(connection), "0001")
    fill(connection, cells, CREATED)


def state(connection: Connection) -> tuple[str, list[str]]:
    """The version of the tables, and their names."""
    version = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one()
    return version, [table for table in tables_of(connection) if table in metadata.tables]
