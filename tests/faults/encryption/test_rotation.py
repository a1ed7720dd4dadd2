"""A keyring is rotated while the server runs: afterwards the old key is not needed, and no caller noticed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sessions_client import AsyncClient, FailedPrecondition
from sessions_server.security.keyring import create_keyring, rotate_keyring
from tests.support.command_line import line_of, run_here, said, sentence_of
from tests.support.figures import show
from tests.support.postgres import Postgres, running_postgres
from tests.support.server import Server, sqlite_url, start_server
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import subprocess

SESSIONS = 300
"""More than one step of rewrapping."""

NEVER = "1000000"
UNDER_CURRENT_KEY = "all data keys are under the current key"
REWRAPPED = f"{UNDER_CURRENT_KEY}; {SESSIONS} were rewrapped"


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    create_keyring(tmp_path / "keyring", now=datetime.now(UTC))
    return tmp_path / "keyring"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def key_id(data_key: bytes) -> int:
    """The number of the key that wraps a stored data key."""
    return int.from_bytes(data_key[1:5], "big")


def ids_in(database: Path) -> Counter[int]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT data_key FROM sessions WHERE data_key IS NOT NULL").fetchall()
    return Counter(key_id(data_key) for (data_key,) in rows)


async def fill(client: AsyncClient, count: int) -> list[str]:
    """Encrypted sessions, each with a secret."""

    async def one(number: int) -> str:
        made = await client.sessions.create(f"u{number}", storage_options={"encryption": True})
        await client.sessions.set_context(made.id, context={"secret": made.id})
        await client.sessions.add_message(made.id, role="user", content=made.id)
        return made.id

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def until_logged(server: Server, text: str) -> None:
    await eventually(lambda: asyncio.to_thread(lambda: server.log), lambda log: text in log)


async def check_all_can_be_read(client: AsyncClient, ids: list[str]) -> None:
    async def one(session_id: str) -> None:
        assert await client.sessions.get_context(session_id) == {"secret": session_id}
        assert (await client.sessions.get_history(session_id))[0].content == session_id

    await asyncio.gather(*map(one, ids))


def rotate(keyring: Path) -> None:
    rotate_keyring(keyring, now=datetime.now(UTC))


async def rewrap(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs the command line."""
    return await asyncio.to_thread(run_here, "keyring", "rewrap", folder=folder, env=env)


def take_out(keyring: Path, key_id: int) -> dict[str, Any]:
    """Returns the removed key."""
    document = json.loads(keyring.read_text())
    [taken] = [key for key in document["keys"] if key["id"] == key_id]
    document["keys"].remove(taken)
    keyring.write_text(json.dumps(document))
    return dict(taken)


def put_back(keyring: Path, key: dict[str, Any]) -> None:
    document = json.loads(keyring.read_text())
    document["keys"].append(key)
    keyring.write_text(json.dumps(document))


async def read_until(client: AsyncClient, ids: list[str], done: asyncio.Event) -> int:
    """Reads and writes continuously; returns how often."""
    rounds = 0
    while not done.is_set():
        session_id = ids[rounds % len(ids)]
        await check_all_can_be_read(client, [session_id])
        await client.sessions.add_message(session_id, role="user", content="more")
        rounds += 1
    return rounds


async def test_a_running_server_rewraps_all_sessions_with_a_new_key(
    tmp_path: Path, keyring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"SESSIONS_KEYRING": str(keyring), "SESSIONS_SWEEP_INTERVAL": "0.1"}
    with start_server(tmp_path, env=env) as server:
        async with AsyncClient(server.address) as client:
            ids = await fill(client, SESSIONS)
            assert ids_in(tmp_path / "sessions.db") == {1: SESSIONS}
            done = asyncio.Event()
            reading = asyncio.create_task(read_until(client, ids, done))
            rotate(keyring)

            async def look() -> Counter[int]:
                return ids_in(tmp_path / "sessions.db")

            assert await eventually(look, lambda ids: 1 not in ids) == {2: SESSIONS}
            done.set()
            rounds = await reading
            ids += await fill(client, 10)
            assert await look() == {2: SESSIONS + 10}
        await until_logged(server, REWRAPPED)
        await check_the_old_key_can_go(server, keyring, ids)
        assert REWRAPPED in server.log
    show(
        capsys,
        f"{SESSIONS} sessions rewrapped while {rounds} rounds of reads and writes succeeded meanwhile",
    )


async def check_the_old_key_can_go(server: Server, keyring: Path, ids: list[str]) -> None:
    take_out(keyring, 1)
    server.restart()
    async with AsyncClient(server.address) as client:
        await check_all_can_be_read(client, ids)


async def test_the_command_line_rewraps_while_servers_run_on_postgresql(
    tmp_path: Path, keyring: Path, postgres: Postgres
) -> None:
    database = await postgres.fresh_database()
    env = {
        "SESSIONS_KEYRING": str(keyring),
        "SESSIONS_DATABASE_URL": postgres.url(database),
        "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
    }
    with start_server(tmp_path, env={**env, "SESSIONS_SWEEP_INTERVAL": NEVER}) as server:
        await until_logged(server, UNDER_CURRENT_KEY)  # from now on it leaves rewrapping to the command
        async with AsyncClient(server.address) as client:
            ids = await fill(client, SESSIONS)
            done = asyncio.Event()
            reading = asyncio.create_task(read_until(client, ids, done))
            rotate(keyring)
            line = await asyncio.to_thread(said, "keyring", "rewrap", folder=tmp_path, env=env)
            assert line.startswith(f"{SESSIONS} sessions were rewrapped")
            done.set()
            assert await reading > 0
        rows = await postgres.fetch("SELECT data_key FROM sessions", database=database)
        assert {key_id(row["data_key"]) for row in rows} == {2}
        await check_the_old_key_can_go(server, keyring, ids)


async def test_the_command_line_rewraps_on_sqlite_once_the_server_is_stopped(
    tmp_path: Path, keyring: Path
) -> None:
    env = {"SESSIONS_KEYRING": str(keyring), "SESSIONS_DATABASE_URL": sqlite_url(tmp_path)}
    with start_server(tmp_path, env={**env, "SESSIONS_SWEEP_INTERVAL": NEVER}) as server:
        await until_logged(server, UNDER_CURRENT_KEY)  # from now on it leaves rewrapping to the command
        async with AsyncClient(server.address) as client:
            ids = await fill(client, 3)
        rotate(keyring)
        refused = sentence_of(await rewrap(tmp_path, env))
        assert refused.startswith("A running server has the database open, and rewraps its sessions")
        server.stop()
        assert line_of(await rewrap(tmp_path, env)).startswith("3 sessions were rewrapped")
        assert line_of(await rewrap(tmp_path, env)).startswith("0 sessions were rewrapped")
        server.start()
        await check_the_old_key_can_go(server, keyring, ids)


async def test_a_session_with_a_missing_key_is_skipped_and_reported(tmp_path: Path, keyring: Path) -> None:
    env = {"SESSIONS_KEYRING": str(keyring), "SESSIONS_DATABASE_URL": sqlite_url(tmp_path)}
    with start_server(tmp_path, env=env) as server:
        async with AsyncClient(server.address) as client:
            lost = await fill(client, 2)
        server.stop()
        rotate(keyring)
        taken = take_out(keyring, 1)
        server.start()
        async with AsyncClient(server.address) as client:
            kept = await fill(client, 2)
        server.stop()
        assert "2 data keys cannot be rewrapped with the current key" in server.log
        rotate(keyring)
        sentence = sentence_of(await rewrap(tmp_path, env))
        assert sentence.startswith("2 sessions were rewrapped, and 2 cannot be: The server's keyring lacks")
        assert ids_in(tmp_path / "sessions.db") == {1: 2, 3: 2}
        server.start()
        async with AsyncClient(server.address) as client:
            await check_all_can_be_read(client, kept)
            with pytest.raises(FailedPrecondition):
                await client.sessions.get_context(lost[0])
        put_back(keyring, taken)
        server.restart()
        async with AsyncClient(server.address) as client:
            await check_all_can_be_read(client, [*lost, *kept])


async def test_a_server_without_a_keyring_reports_it_at_startup(tmp_path: Path, keyring: Path) -> None:
    env = {"SESSIONS_DATABASE_URL": sqlite_url(tmp_path)}
    with start_server(tmp_path, env={**env, "SESSIONS_KEYRING": str(keyring)}) as server:
        async with AsyncClient(server.address) as client:
            ids = await fill(client, 3)
        server.stop()
        with start_server(tmp_path, env=env) as mistaken:
            await until_logged(mistaken, "3 data keys cannot be rewrapped with the current key")
            async with AsyncClient(mistaken.address) as client:
                with pytest.raises(FailedPrecondition, match="the server has no keyring"):
                    await client.sessions.get_context(ids[0])
            [error] = [line for line in mistaken.log.splitlines() if "[error" in line]
    assert "give the server the keyring that they were created with (SESSIONS_KEYRING)" in error
    assert "the server has no keyring" in error


async def test_another_keyring_with_the_same_numbers_is_detected_by_the_command_and_at_startup(
    tmp_path: Path, keyring: Path
) -> None:
    right = {"SESSIONS_KEYRING": str(keyring), "SESSIONS_DATABASE_URL": sqlite_url(tmp_path)}
    wrong = {**right, "SESSIONS_KEYRING": str(tmp_path / "wrong")}
    create_keyring(tmp_path / "wrong", now=datetime.now(UTC))
    with start_server(tmp_path, env=right) as server:
        async with AsyncClient(server.address) as client:
            ids = await fill(client, 3)
        server.stop()
        for _ in range(2):
            sentence = sentence_of(await rewrap(tmp_path, wrong))
            assert sentence.startswith("0 sessions were rewrapped, and 3 cannot be: This session's data key")
            rotate(tmp_path / "wrong")
        assert ids_in(tmp_path / "sessions.db") == {1: 3}
        with start_server(tmp_path, env=wrong) as mistaken:
            await until_logged(mistaken, "3 data keys cannot be rewrapped with the current key")
            [error] = [line for line in mistaken.log.splitlines() if "[error" in line]
        assert "give the server the keyring that they were created with (SESSIONS_KEYRING)" in error
        server.start()
        async with AsyncClient(server.address) as client:
            await check_all_can_be_read(client, ids)
