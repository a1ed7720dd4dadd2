"""A whole database is exported to a file, into another database, and from there into a third, with kills in between."""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.security.keyring import create_keyring
from tests.faults.durability.load import stub_of
from tests.faults.expiry.probes import AT_ONCE, each
from tests.faults.transfer.generated import LONG_TIMEOUTS, Records, Stub, content, export, make
from tests.faults.transfer.killing import finish_though_killed
from tests.support.command_line import line_of, run_here, said
from tests.support.figures import show
from tests.support.postgres import Postgres, running_postgres
from tests.support.server import sqlite_url, start_server
from tests.wire.stubs import refusal_of

SESSIONS = 200
KILLS = 1
"""The minimum for each command."""

SECRET = "canary-in-an-encrypted-session"


@dataclass(frozen=True)
class Database:
    """A database with sessions, and a folder for its servers."""

    folder: Path
    env: dict[str, str]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    create_keyring(tmp_path / "keyring", now=datetime.now(UTC))
    return tmp_path / "keyring"


def database(tmp_path: Path, name: str, keyring: Path, url: str | None = None) -> Database:
    folder = tmp_path / name
    folder.mkdir()
    env = {
        "SESSIONS_KEYRING": str(keyring),
        "SESSIONS_DATABASE_URL": url or sqlite_url(folder),
        "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
        "SESSIONS_MAX_TRANSFERS_PER_CALLER": str(AT_ONCE),
    }
    return Database(folder, env)


async def filled(source: Database) -> dict[str, Records]:
    """Fills a database; returns all its sessions."""
    with start_server(source.folder, env=source.env) as server:
        async with stub_of(server) as stub:
            await each(
                range(SESSIONS),
                lambda number: make(stub, random.Random(number), f"s{number}", LONG_TIMEOUTS),
            )
            for session_id in ("secret", "plain"):
                creation = pb.CreateSessionRequest(session_id=session_id, user_id="u")
                creation.storage_options.encryption = session_id == "secret"
                await stub.CreateSession(creation)
                message = pb.Message(role="user", content=f"{SECRET} {session_id}")
                await stub.AddMessage(pb.AddMessageRequest(session_id=session_id, message=message))
            return await exports(stub)


async def contents(place: Database) -> dict[str, Records]:
    """All sessions of a database."""
    with start_server(place.folder, env=place.env) as server:
        async with stub_of(server) as stub:
            return await exports(stub)


async def exports(stub: Stub) -> dict[str, Records]:
    """The exports of all sessions."""
    found: dict[str, Records] = {}

    async def read(session_id: str) -> None:
        found[session_id] = await export(stub, session_id)

    await each([*(f"s{number}" for number in range(SESSIONS)), "secret", "plain"], read)
    return found


def file_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def sessions_in(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            [[count]] = connection.execute("SELECT count(*) FROM sessions")
            return int(count)
    except sqlite3.OperationalError:  # it has no tables yet, or does not exist
        return 0


async def test_all_sessions_move_from_sqlite_to_postgresql_and_back(
    tmp_path: Path, keyring: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    source = database(tmp_path, "source", keyring)
    name = await postgres.fresh_database()
    middle = database(tmp_path, "middle", keyring, postgres.url(name))
    target = database(tmp_path, "target", keyring)
    dump, second = tmp_path / "dump", tmp_path / "second-dump"
    original = await filled(source)
    size = sum(record.ByteSize() for records in original.values() for record in records)

    out = await though_killed("export", dump, source, lambda: file_size(dump), size // (KILLS + 2))
    check_what_is_unencrypted(dump)
    line = await asyncio.to_thread(said, "import", dump, folder=tmp_path, env=middle.env)
    assert line.startswith(f"Sessions imported: {SESSIONS + 2}, already there: 0,")
    moved = await contents(middle)

    await asyncio.to_thread(said, "export", second, folder=tmp_path, env=middle.env)
    path = target.folder / "sessions.db"
    back = await though_killed("import", second, target, lambda: sessions_in(path), SESSIONS // (KILLS + 2))
    check_are_equal(original, moved, await contents(target))
    assert min(out, back) >= KILLS
    show(
        capsys,
        f"{len(original)} sessions moved from SQLite to PostgreSQL and back, all equal; the export was killed {out} "
        f"times and the import {back} times",
    )


async def test_the_commands_open_no_connection_for_wake_ups(
    tmp_path: Path, keyring: Path, postgres: Postgres
) -> None:
    """Servers of the database find changes by polling, and nobody is watching here."""
    one, two = [
        database(tmp_path, name, keyring, postgres.url(await postgres.fresh_database()))
        for name in ("one", "two")
    ]
    await postgres.execute("ALTER SYSTEM SET log_connections = on")
    await postgres.execute("SELECT pg_reload_conf()")
    before = len(postgres.log)
    await asyncio.to_thread(said, "export", tmp_path / "dump", folder=tmp_path, env=one.env)
    await asyncio.to_thread(said, "import", tmp_path / "dump", folder=tmp_path, env=two.env)
    connected = set(re.findall(r"application_name=(.*)", postgres.log[before:]))
    assert connected == {"sessions-server"}


async def though_killed(verb: str, dump: Path, place: Database, reached: Callable[[], int], step: int) -> int:
    """Runs a command to its end, killing it at every step; returns how often."""
    kills, printed = await asyncio.to_thread(
        lambda: finish_though_killed(
            verb, dump, folder=place.folder, env=place.env, reached=reached, step=step
        )
    )
    assert f"{SESSIONS + 2} sessions" in printed or verb == "import"
    return kills


def check_are_equal(*databases: dict[str, Records]) -> None:
    """Checks that both have the same sessions, and that positions continue from one to the next."""
    first, *others = databases
    for session_id, records in first.items():
        for found in others:
            assert content(found[session_id]) == content(records)
        heads = [found[session_id][0].header.session.last_sequence for found in databases]
        assert heads == sorted(set(heads))


def check_what_is_unencrypted(dump: Path) -> None:
    stored = dump.read_text()
    assert f"{SECRET} plain" in stored
    assert f"{SECRET} secret" not in stored
    assert dump.stat().st_mode & 0o077 == 0


async def to_its_end(stream: AsyncIterable[object]) -> None:
    async for _ in stream:
        pass


async def test_a_subscriber_continues_after_its_position_or_learns_that_it_cannot(
    tmp_path: Path, keyring: Path
) -> None:
    source, target = (database(tmp_path, name, keyring) for name in ("source", "target"))
    with start_server(source.folder, env=source.env) as server:
        async with stub_of(server) as stub:
            await stub.CreateSession(pb.CreateSessionRequest(session_id="it", user_id="u"))
            for number in range(3):
                text = pb.Message(role="user", content=str(number))
                await stub.AddMessage(pb.AddMessageRequest(session_id="it", message=text))
    line_of(await asyncio.to_thread(run_here, "export", "dump", folder=tmp_path, env=source.env))
    line_of(await asyncio.to_thread(run_here, "import", "dump", folder=tmp_path, env=target.env))
    with start_server(target.folder, env=target.env) as server:
        async with stub_of(server) as stub:
            stream = stub.Subscribe(pb.SubscribeRequest(session_id="it", after_sequence=4))
            shown: list[Any] = [await stream.read() for _ in range(5)]
            events = [(response.event.sequence, response.event.type) for response in shown[1:]]
            assert events[0] == (5, pb.EVENT_TYPE_IMPORTED)
            assert events[1:] == [(at, pb.EVENT_TYPE_MESSAGE) for at in (6, 7, 8)]
            early = stub.Subscribe(pb.SubscribeRequest(session_id="it", after_sequence=2))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await to_its_end(early)
            assert refusal_of(caught.value).reason == "EVENTS_COMPACTED"
