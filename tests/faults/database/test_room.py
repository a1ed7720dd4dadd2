"""Unused space that erased content leaves in a SQLite file: it is returned to the disk, automatically or by a
command."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from sessions_client import Client
from sessions_server.domain.limits import Limits
from sessions_server.security.encryption import open_cells
from sessions_server.storage.sqlite.backend import SqliteBackend
from sessions_server.storage.store import open_store
from tests.conformance.harness import KEY, Harness, add, create
from tests.support import commits as c
from tests.support.clock import HandClock
from tests.support.command_line import line_of, run_here, sentence_of
from tests.support.server import sqlite_url, start_server

MESSAGES = 80
CONTENT = "x" * 100_000


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Harness]:
    store = open_store(SqliteBackend(path), cells=open_cells(None), limits=Limits())
    await store.start()
    yield Harness(store, HandClock())
    await store.close()


async def filled_and_emptied(path: Path) -> int:
    """Returns how large the file was."""
    async with opened(path) as bench:
        await bench.do(create())
        for number in range(MESSAGES):
            await bench.do(add(f"{number} {CONTENT}"))
    size = size_of(path)
    assert size > MESSAGES * len(CONTENT)
    async with opened(path) as bench:
        await bench.do(c.delete(key=KEY))
    assert size_of(path) == size
    return size


def size_of(path: Path) -> int:
    return path.stat().st_size


def as_made_by_an_earlier_release(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")


async def test_a_file_shrinks_in_bounded_steps_and_keeps_some_free_space(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sessions.db"
    size = await filled_and_emptied(path)
    async with opened(path) as bench:
        steps = []
        while freed := await bench.store.shrink(100):
            steps.append(freed)
        assert max(steps) <= 101, "with a map of pages that is not needed any more"
        assert len(steps) > 10
        await bench.do(create())
    assert size_of(path) < size / 4
    with closing(sqlite3.connect(path)) as database:
        assert list(database.execute("PRAGMA integrity_check")) == [("ok",)]


async def test_vacuum_shrinks_an_earlier_releases_file_which_then_shrinks_itself(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sessions.db"
    as_made_by_an_earlier_release(path)
    size = await filled_and_emptied(path)
    async with opened(path) as bench:
        assert await bench.store.shrink(100) == 0
    said = line_of(run_here("vacuum", folder=tmp_path, env={"SESSIONS_DATABASE_URL": sqlite_url(tmp_path)}))
    assert re.fullmatch(rf"the database took {size / 2**20:.1f} MiB and now takes 0\.\d MiB", said)
    assert size_of(path) < 2**20
    size = await filled_and_emptied(path)
    async with opened(path) as bench:
        while await bench.store.shrink(1_000):
            pass
    assert size_of(path) < size / 4


def test_a_running_server_returns_free_space(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    env = {"SESSIONS_DATABASE_URL": sqlite_url(tmp_path), "SESSIONS_SWEEP_INTERVAL": "0.01"}
    with start_server(tmp_path, env=env) as server, Client(server.address) as client:
        session = client.sessions.create("u")
        for _ in range(MESSAGES):
            client.sessions.add_message(session.id, role="user", content=CONTENT)
        assert server.stop() == 0
        size = size_of(path)
        server.start()
        assert "is in use" not in server.log
        refused = sentence_of(run_here("vacuum", folder=tmp_path, env=env))
        assert f"uses the database {path}; stop it first" in refused
        client.sessions.delete(session.id)
        while size_of(path) > size / 4:
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "postgresql://u@h/d",
            "PostgreSQL reuses its space by itself; to return some to the disk, run VACUUM",
        ),
        ("sqlite+aiosqlite:///none.db", "There is no database at sqlite+aiosqlite:///none.db; name one with"),
    ],
)
def test_vacuum_reports_when_there_is_nothing_to_do(tmp_path: Path, url: str, sentence: str) -> None:
    said = sentence_of(run_here("vacuum", folder=tmp_path, env={"SESSIONS_DATABASE_URL": url}))
    assert said.startswith(sentence)
