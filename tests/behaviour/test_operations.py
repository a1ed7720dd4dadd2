"""The commands of docs/operations.md, pasted unchanged, do what the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sessions_client import AsyncClient, NotFound, OutOfRange, Unauthenticated
from tests.meta.readme import blocks, prints
from tests.meta.tree import text_of
from tests.support.command_line import run_here
from tests.support.server import sqlite_url, start_server

BLOCKS = list(blocks(text_of(Path("docs/operations.md"))))
COMMANDS = [block.text for block in BLOCKS if block.word == "bash"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the page assumes it, with the project's environment."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def paste(about: str, *, folder: Path) -> str:
    """Runs the one block that contains `about`; returns its terminal output."""
    [command] = [command for command in COMMANDS if about in command]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_doctor_prints_what_the_page_says(folder: Path) -> None:
    done = run_here("doctor", folder=folder)
    [expected] = [block.text for block in BLOCKS if block.word == "text"]
    assert prints(expected, done.stdout), done.stdout


async def test_a_backup_of_a_running_server_has_every_acknowledged_write(folder: Path) -> None:
    with start_server(folder) as server:
        async with AsyncClient(server.address) as client:
            session = await client.sessions.create(user_id="u1", metadata={"device": "web"})
            await client.sessions.add_message(session.id, role="user", content="before")
            kept = await client.sessions.get(session.id)
            paste("VACUUM INTO", folder=folder)
            await client.sessions.add_message(session.id, role="user", content="after")
    backup = folder / "backup.db"
    assert backup.stat().st_mode & 0o077 == 0
    (folder / "restored").mkdir()
    backup.rename(folder / "restored" / "sessions.db")
    with start_server(folder / "restored") as server:
        async with AsyncClient(server.address) as client:
            assert await client.sessions.get(session.id) == kept
            history = await client.sessions.get_history(session.id)
            assert [message.content for message in history] == ["before"]


async def test_after_a_restore_a_subscriber_is_told_what_its_log_has_lost(folder: Path) -> None:
    env = {"SESSIONS_DATABASE_URL": sqlite_url(folder)}
    with start_server(folder, env=env) as server:
        async with AsyncClient(server.address) as client:
            session = (await client.sessions.create("u1")).id
            async with client.sessions.subscribe(session, after_sequence=0) as events:
                await client.sessions.add_message(session, role="user", content="kept")
                paste("VACUUM INTO", folder=folder)
                for _ in range(3):
                    await client.sessions.add_message(session, role="user", content="lost")
                while (events.position or 0) < 5:
                    await anext(events)
                position, log_id = events.position, events.log_id
        assert server.stop() == 0
        for end in ("", "-wal", "-shm"):
            (folder / f"sessions.db{end}").unlink(missing_ok=True)
        (folder / "backup.db").rename(folder / "sessions.db")
        server.start()
        assert "it was restored from a backup" in server.log
        async with AsyncClient(server.address) as client:
            with pytest.raises(OutOfRange) as refusal:
                _ = await client.sessions.subscribe(session, after_sequence=position, log_id=log_id)
            assert refusal.value.reason == "CURSOR_AHEAD"
            for _ in range(4):
                await client.sessions.add_message(session, role="user", content="other")
            with pytest.raises(OutOfRange) as refusal:
                _ = await client.sessions.subscribe(session, after_sequence=position, log_id=log_id)
            assert refusal.value.reason == "LOG_REPLACED"
            async with client.sessions.subscribe(session, after_sequence=1, log_id=log_id) as events:
                assert [(await anext(events)).data.content for _ in range(2)] == ["kept", "other"]


async def test_encrypted_data_can_be_read_after_a_rotation(folder: Path) -> None:
    paste("keyring new", folder=folder)
    env = {"SESSIONS_KEYRING": "keyring.json", "SESSIONS_DATABASE_URL": sqlite_url(folder)}
    with start_server(folder, env=env) as server:
        async with AsyncClient(server.address) as client:
            old = await client.sessions.create(user_id="u1", storage_options={"encryption": True})
            await client.sessions.set_context(old.id, context={"secret": "old"})
            paste("keyring rotate", folder=folder)
            server.restart()
            new = await client.sessions.create(user_id="u1", storage_options={"encryption": True})
            await client.sessions.set_context(new.id, context={"secret": "new"})
            assert await client.sessions.get_context(old.id) == {"secret": "old"}
            assert await client.sessions.get_context(new.id) == {"secret": "new"}


async def test_all_sessions_move_to_another_database(folder: Path) -> None:
    with start_server(folder) as server:
        async with AsyncClient(server.address) as client:
            session = await client.sessions.create(user_id="u1", metadata={"device": "web"})
            await client.sessions.add_message(session.id, role="user", content="moves")
    paste("sessions-server vacuum", folder=folder)
    paste("export sessions.dump", folder=folder)
    moved = {"SESSIONS_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'moved.db'}"}
    with start_server(folder, env=moved) as server:
        async with AsyncClient(server.address) as client:
            assert (await client.sessions.get(session.id)).metadata == {"device": "web"}
            assert [each.content for each in await client.sessions.get_history(session.id)] == ["moves"]


async def test_a_token_gives_access_only_to_its_tenant(folder: Path) -> None:
    tokens = [paste("token new", folder=folder).split()[-1] for _ in range(2)]
    entries = (folder / "tokens.toml").read_text()
    assert entries.count("acme") == 2
    (folder / "tokens.toml").write_text("other".join(entries.rsplit("acme", 1)))
    with start_server(folder, env={"SESSIONS_TOKENS": "tokens.toml"}) as server:
        async with (
            AsyncClient(server.address) as nobody,
            AsyncClient(server.address, token=tokens[0]) as acme,
            AsyncClient(server.address, token=tokens[1]) as other,
        ):
            session = await acme.sessions.create(user_id="u1")
            assert await acme.sessions.get(session.id) == session
            with pytest.raises(NotFound):
                await other.sessions.get(session.id)
            with pytest.raises(Unauthenticated):
                await nobody.sessions.get(session.id)
