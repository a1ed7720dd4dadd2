"""A server killed during an import: the stored part stays invisible, and is erased after the restart. A session that
was to be replaced is as it was."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from sessions_client import Client, NotFound, RecordName, Scope, Unavailable, ops
from sessions_server.storage.schema import metadata
from sessions_server.storage.staging import LEASE
from tests.faults.transfer.short_lived_server import ROWS, SLICES
from tests.support.clock import SharedClock
from tests.support.server import sqlite_url, start_server
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from sessions_client import Session, SessionData
    from tests.support.postgres import Postgres

CANARY: Final = "canary of an import"
MESSAGES: Final = (SLICES - 1) * ROWS
"""The last slice that is stored has records, and so has the one in which the server is killed."""
RECORDS: Final = 3 * ROWS
STORED: Final = {"log": MESSAGES, "records": ROWS, "record_terms": ROWS, "erasures": 1}
"""What is stored of the import, besides what was there."""
MESSAGES_OF_BOTH: Final = [
    {"id": f"m{number}", "role": "user", "content": f"{CANARY} {number}"} for number in range(MESSAGES)
]
UNDER_WAY: Final = "being imported under this session_id"


@cache
def exported() -> SessionData:
    with Client(":memory:") as elsewhere:
        session = elsewhere.sessions.create(user_id="u", metadata={"c": CANARY})
        elsewhere.sessions.add_messages(session.id, messages=MESSAGES_OF_BOTH)
        put_records(elsewhere, session.id, "new")
        return elsewhere.sessions.export(session.id)


def put_records(client: Client, session_id: str, of: str) -> None:
    """Records with the names of those of the import."""
    puts = [
        ops.put(record(session_id, number), f"{CANARY} {of} {number}".encode(), labels={"of": of})
        for number in range(RECORDS)
    ]
    client.sessions.commit(session_id, *puts)


def record(session_id: str, number: int) -> RecordName:
    return RecordName(Scope(session_id=session_id), "kept", f"k{number:03}")


def records_of(client: Client) -> list[bytes]:
    """The values of the session's records, found by their labels as well as without."""
    scope = Scope(session_id="copy")
    found = [each.value for each in client.records.list(scope, "kept")]
    for of in ("old", "new"):
        labelled = [each.value for each in client.records.list(scope, "kept", filter={"of": of})]
        assert labelled in ([], found)
    assert client.records.get(record("copy", 1)).value == found[1]
    return found


async def rows(url: str) -> dict[str, int]:
    """The number of rows in each table that has some."""
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            found = {
                table.name: (
                    await connection.execute(sa.select(sa.func.count()).select_from(table))
                ).scalar_one()
                for table in metadata.tables.values()
                if "session_id" in table.c
            }
    finally:
        await engine.dispose()
    return {name: count for name, count in found.items() if count}


@pytest.fixture(params=["sqlite", "postgres"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.url(await server.fresh_database())


def settings(database_url: str) -> dict[str, str]:
    return {
        "SESSIONS_DATABASE_URL": database_url,
        "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
        "SESSIONS_SWEEP_INTERVAL": "0.05",
    }


@asynccontextmanager
async def killed_import(folder: Path, database_url: str, clock: SharedClock) -> AsyncIterator[Client]:
    """A client of a server that is killed in the fourth slice of an import, which it begins at the end of the block."""
    program = ["-m", "tests.faults.transfer.short_lived_server", str(clock.path)]
    with (
        start_server(folder, env=settings(database_url), program=program) as server,
        Client(server.address) as client,
    ):
        yield client
        importing = asyncio.create_task(asyncio.to_thread(import_again, client))
        await asyncio.to_thread(server.wait)
        client.close()  # it would wait for the server's return
        with pytest.raises(RuntimeError, match="This client is closed"):
            await importing


def import_again(client: Client) -> Session:
    return client.sessions.import_("copy", session_data=exported(), request_id="r")


def traces(folder: Path) -> int:
    """How often the canary occurs in SQLite's files."""
    return sum(path.read_bytes().count(CANARY.encode()) for path in folder.glob("sessions.db*"))


async def test_a_kill_leaves_the_session_that_was_to_be_replaced_as_it_was(
    database_url: str, tmp_path: Path
) -> None:
    clock = SharedClock(tmp_path / "clock")
    async with killed_import(tmp_path, database_url, clock) as client:
        client.sessions.create(user_id="u", session_id="copy")
        client.sessions.set_context("copy", context={"old": True})
        client.sessions.add_messages("copy", messages=MESSAGES_OF_BOTH)
        put_records(client, "copy", "old")
        old, events, stored = client.sessions.get("copy"), events_of(client), await rows(database_url)
    assert await rows(database_url) == {
        name: stored.get(name, 0) + STORED.get(name, 0) for name in stored | STORED
    }
    with (
        start_server(tmp_path, env=settings(database_url), clock=clock) as server,
        Client(server.address) as client,
    ):
        assert client.sessions.get("copy") == old
        assert events_of(client) == events
        assert len(client.sessions.get_history("copy", limit=1_000)) == MESSAGES
        assert records_of(client) == values_of("old")
        if "postgres" in database_url:  # there another server may be importing
            with pytest.raises(Unavailable, match=UNDER_WAY):
                client.sessions.add_message("copy", role="user", content="too early", timeout=1)
            clock.turn(seconds=LEASE / 1_000_000)
        assert await eventually(lambda: rows(database_url), lambda found: found == stored) == stored
        assert client.sessions.get("copy") == old
        assert records_of(client) == values_of("old")
        client.sessions.add_message("copy", role="user", content="after")
        again = import_again(client)
        assert (again.message_count, again.last_sequence) == (MESSAGES, old.last_sequence + MESSAGES + 2)
        assert client.sessions.get_context("copy") == {}
        assert records_of(client) == values_of("new")


def values_of(life: str) -> list[bytes]:
    return [f"{CANARY} {life} {number}".encode() for number in range(RECORDS)]


def events_of(client: Client) -> list[tuple[int, str]]:
    """The positions and types of the session's events."""
    last = client.sessions.get("copy").last_sequence
    with client.sessions.subscribe("copy", after_sequence=0) as events:
        return [(each.sequence, each.type) for each in itertools.islice(events, last)]


async def test_the_part_stored_before_a_kill_is_invisible_and_erased(
    database_url: str, tmp_path: Path
) -> None:
    clock = SharedClock(tmp_path / "clock")
    async with killed_import(tmp_path, database_url, clock):
        pass
    assert await rows(database_url) == STORED
    with (
        start_server(tmp_path, env=settings(database_url), clock=clock) as server,
        Client(server.address) as client,
    ):
        with pytest.raises(NotFound):
            client.sessions.get("copy")
        assert list(client.sessions.search(metadata_filter={"c": CANARY})) == []
        if "postgres" in database_url:  # there another server may be importing
            with pytest.raises(Unavailable, match=UNDER_WAY):
                client.sessions.create(user_id="u", session_id="copy", timeout=1)
            clock.turn(seconds=LEASE / 1_000_000)
        left = await eventually(lambda: rows(database_url), lambda found: not found)
        assert left == {}
        assert await eventually(lambda: asyncio.to_thread(traces, tmp_path), lambda found: not found) == 0
        again = import_again(client)
        assert (again.message_count, again.last_sequence) == (MESSAGES, MESSAGES + 1)
        assert records_of(client) == values_of("new")
